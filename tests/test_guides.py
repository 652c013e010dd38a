"""The commands of the quick start and of the how-to pages run as they stand."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.kit.pages import DOCS, blocks, check_printed, run_page
from tests.kit.remotes import started

#: How many blocks of each page are run at least.
PAGES = {"how-to/debug-a-job.rst": 7, "how-to/notebook.rst": 1, "how-to/share.rst": 5, "how-to/move-data.rst": 5}
#: Those that wait for jobs to end, copy much, or need a router.
SLOW = {"how-to/debug-a-job.rst", "how-to/move-data.rst", "how-to/share.rst"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_the_quick_start(tmp_path: Path) -> None:
    assert run_page("quick-start.rst", tmp_path, {"7000": free_port()}) >= 7


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page for page in PAGES]
)
def test_a_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages say that there is a context; their token is in a file of the current folder."""
    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "jobs").mkdir()
    options = ["--token-file", str(tmp_path / "token"), "--set", f"jobs.root={str(tmp_path / 'jobs')!r}"]
    with started("serve", *options) as agent:
        port = agent.ports["rpc"]
        contexts = tmp_path / ".config" / "pagent" / "contexts.yaml"
        contexts.parent.mkdir(parents=True)
        contexts.write_text(f"current: lab\ncontexts: {{lab: {{address: '127.0.0.1:{port}', token: a-token}}}}\n")
        contexts.chmod(0o600)
        ports = {"7000": port, "8161": free_port(), "8162": free_port()}
        assert run_page(page, tmp_path, ports) >= PAGES[page]


def test_every_page_with_commands_is_run() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in (DOCS / "how-to").glob("*.rst")}
    runnable = {page for page in pages if any(block.mark != "skip" for block in blocks(page))}
    assert runnable == set(PAGES)


def test_lines_that_are_not_printed_are_found() -> None:
    check_printed(["job 5f0c0d5a8f7e runs  for 3.5 s", "end"], "more\njob 123456789abc runs for 12 s\n\nend\n")
    for printed in (["end", "job"], ["other"], ["job 1 and more"]):
        with pytest.raises(AssertionError, match="not printed"):
            check_printed(printed, "job\nend\njob 1\n")
