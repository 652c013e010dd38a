from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import pytest

from pagent.cli.ports.browser import open_browser

#: A browser that notes its argument, and the answers to it.
BROWSER = """#!{python}
import os, sys, urllib.request, urllib.error
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None
with open({out!r}, "a") as out:
    print(sys.argv[1], file=out)
    for _ in range({times}):
        try:
            urllib.request.build_opener(Stay).open(sys.argv[1], timeout=10)
        except urllib.error.HTTPError as error:
            print(error.code, error.headers.get("Location"), file=out)
        except OSError:
            print("refused", file=out)
"""


def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the standard library look for browsers again: it keeps those of its first use."""
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    monkeypatch.setattr(webbrowser, "_browsers", {})


def lines(out: Path) -> list[str]:
    return out.read_text().splitlines()


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which the browser notes what it does."""
    out, browser = tmp_path / "out", tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable, out=str(out), times=1))
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    unregistered(monkeypatch)
    return out


async def test_a_plain_address_is_the_argument(seen: Path) -> None:
    assert await open_browser("http://127.0.0.1:1/") == ""
    assert lines(seen) == ["http://127.0.0.1:1/", "refused"]


async def test_a_secret_is_no_argument(seen: Path) -> None:
    secret = "http://127.0.0.1:1/lab?token=secret"
    assert await open_browser(secret) == ""
    page, answer = lines(seen)
    assert page.startswith("http://127.0.0.1:")
    assert "secret" not in page
    assert answer == f"303 {secret}"


async def test_a_browser_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROWSER", "/nonexistent/browser")
    monkeypatch.setenv("PATH", "/nonexistent")
    unregistered(monkeypatch)
    assert await open_browser("http://127.0.0.1:1/x?y=z") == "no browser can be started"
    monkeypatch.delenv("BROWSER")
    if sys.platform == "linux":
        assert await open_browser("http://127.0.0.1:1/") == "there is no display"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the owners of sockets")
async def test_the_page_is_only_for_the_same_user(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.cli.ports.browser.owner_of_peer", lambda writer: os.getuid() + 1)
    assert (
        await open_browser("http://127.0.0.1:1/lab?token=secret", patience_s=1.0)
        == "the browser has not asked for the page"
    )
    assert "secret" not in "".join(lines(seen))
