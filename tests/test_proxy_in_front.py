"""A router with the proxies of docs/how-to/proxy-in-front.rst, with their configurations as they are there."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import outcome_of
from tests.kit.pages import DOCS
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import Started, started

PAGE = DOCS / "how-to" / "proxy-in-front.rst"
NAME = "router.example.org"

NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{site}
}}
"""
CADDY = "{{\n    admin off\n    auto_https off\n    storage file_system {folder}/caddy\n}}\n{site}\n"


def block(language: str) -> str:
    """Return the block of the page in a language."""
    found = re.search(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    return textwrap.dedent(found[1])


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Return a text with all of these replaced, each of which has to be in it."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, router: Started, certificate: tuple[Path, Path]) -> list[str]:
    """Write the configuration, and return the command."""
    site = replaced(
        block("nginx"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/router.pem", str(certificate[0])), ("/etc/nginx/router.key", str(certificate[1])),
        ("127.0.0.1:8160", f"127.0.0.1:{router.ports['server']}"),
        ("127.0.0.1:8161", f"127.0.0.1:{router.ports['control']}"),
    )  # fmt: skip
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=site))
    return ["nginx", "-e", str(folder / "nginx.log"), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, router: Started, certificate: tuple[Path, Path]) -> list[str]:
    site = replaced(
        block("text"),
        (f"{NAME} {{", f"https://:{port} {{\n    bind 127.0.0.1\n    tls {certificate[0]} {certificate[1]}"),
        ("127.0.0.1:8160", f"127.0.0.1:{router.ports['server']}"),
        ("127.0.0.1:8161", f"127.0.0.1:{router.ports['control']}"),
    )
    (folder / "Caddyfile").write_text(CADDY.format(folder=folder, site=site))
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                assert process.poll() is None, "the proxy has ended"
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [nginx, caddy], ids=lambda each: each.__name__)
def test_a_router_is_used_through_it(
    proxy: type,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shutil.which(proxy.__name__) is None:
        pytest.skip(f"needs {proxy.__name__}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.chdir(tmp_path)
    for name in ("agent-tokens", "token"):
        (tmp_path / name).write_text("of-an-agent\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "jobs").mkdir()
    secret = outcome_of(capfd, tmp_path, ["token", "new", "ann", "--file", "tokens.yaml"]).stdout.strip()
    (tmp_path / "ann").write_text(secret)
    settings = replaced(block("yaml"), ("port: 8160", "port: 0"), ("port: 8161", "port: 0"))
    (tmp_path / "router.yaml").write_text(settings)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (
        started("route", "--config", "router.yaml") as router,
        running(proxy(tmp_path, port, router, certificate), port),  # type: ignore[call-arg]
    ):
        client = f"'wss://localhost:{port}/agents'"
        options = ["--set", f"client.address={client}", "--set", "client.token_file='token'"]
        options += ["--set", "client.enabled=True", "--set", f"client.tls.ca={str(certificate[0])!r}"]
        with started("serve", "--set", "server.enabled=False", "--set", "jobs.root='jobs'", *options):
            router.says("agent .* is connected")
            use(port, secret, tmp_path, certificate, capfd)


def use(
    port: int, secret: str, folder: Path, certificate: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Use the router with the command line and over HTTP."""
    place = ["--agent", f"wss://localhost:{port}/", "--token-file", "ann"]
    steps = json.loads(outcome_of(capfd, folder, ["doctor", "--json", *place]).stdout)
    assert [(each["check"], each["result"]) for each in steps[-5:]] == [
        ("name", "ok"), ("TCP", "ok"), ("TLS", "ok"), ("upgrade", "ok"), ("token", "ok"),
    ]  # fmt: skip
    code, uid, stderr = outcome_of(
        capfd, folder, ["start", *place, "--", "python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    )
    assert (code, stderr) == (0, "")
    assert outcome_of(capfd, folder, ["exec", *place, uid.strip(), "--", "echo", "here"]).stdout == "here\n"
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    fields = {"Host": NAME, "Authorization": f"Bearer {secret}", "X-Pagent-Token": secret}
    with closing(http.client.HTTPSConnection("localhost", port, context=trusting, timeout=PATIENCE_S)) as router:
        router.request("PUT", f"/v1/jobs/{uid.strip()}/files/large", b"x" * (3 << 20), fields)
        with router.getresponse() as answer:
            assert answer.status in (200, 201, 204), answer.read()
            answer.read()
        router.request("GET", f"/jobs/-/{uid.strip()}/http/large", headers=fields)
        with router.getresponse() as answer:
            assert len(answer.read()) == 3 << 20
