from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.ports.job_urls import UrlFinder, UrlTranslator, parse_job_url

LOCAL = 20_123
PORT = 8888
#: What Jupyter prints, with colours of Vite and the punctuation of other programs.
PRINTED = b"""
[I] Jupyter Server is running at:
[I] http://box:8888/lab?token=0123456789abcdef
[I]     http://127.0.0.1:8888/lab?token=0123456789abcdef
  \x1b[32m->\x1b[39m  Local:   \x1b[36mhttp://localhost:\x1b[1m8888\x1b[22m/app/\x1b[39m
Serving HTTP on 0.0.0.0 port 8888 (http://0.0.0.0:8888/) ...
See http://127.0.0.1:8889/ and http://example.org:8888/ or "http://[::]:8888/six#part".
https://user:pass@[::1]:8888
"""
FOUND = [
    "http://127.0.0.1:20123/lab?token=0123456789abcdef",
    "http://127.0.0.1:20123/app/",
    "http://127.0.0.1:20123/",
    "http://127.0.0.1:20123/six#part",
    "https://user:pass@127.0.0.1:20123/",
]


def translated(*pieces: bytes) -> list[str]:
    finder, translator = UrlFinder({"box"}), UrlTranslator()
    found = translator.open({PORT: LOCAL}, [])
    for piece in pieces:
        found += translator.translate(finder.feed(piece))
    return found + translator.translate(finder.end())


def test_urls_of_the_port_are_found_once() -> None:
    assert translated(PRINTED) == FOUND


def test_every_split_finds_the_same() -> None:
    for cut in range(len(PRINTED) + 1):
        assert translated(PRINTED[:cut], PRINTED[cut:]) == FOUND
    assert translated(*(bytes([byte]) for byte in PRINTED)) == FOUND


def test_a_url_without_an_end_is_found_at_the_end() -> None:
    finder, translator = UrlFinder(), UrlTranslator()
    translator.open({PORT: LOCAL}, [])
    assert translator.translate(finder.feed(b"http://127.0.0.1:8888/?tok")) == []
    assert translator.translate(finder.feed(b"en=1")) == []
    assert translator.translate(finder.end()) == ["http://127.0.0.1:20123/?token=1"]


def test_urls_that_are_printed_before_the_ports_are_known_wait() -> None:
    finder, translator = UrlFinder(), UrlTranslator()
    assert translator.translate(finder.feed(b"http://localhost:8888/a http://localhost:1/b\n")) == []
    assert translator.open({PORT: LOCAL}, []) == ["http://127.0.0.1:20123/a"]
    assert translator.translate(finder.feed(b"http://localhost:8888/a\n")) == []


def test_a_url_that_was_said_is_not_repeated() -> None:
    finder, translator = UrlFinder(), UrlTranslator()
    translator.open({PORT: LOCAL}, ["http://127.0.0.1:20123/"])
    assert translator.translate(finder.feed(b"http://localhost:8888\n")) == []


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:8888/a_(b)).", "http://127.0.0.1:20123/a_(b)"),
        ("http://127.8.9.1:8888/**", "http://127.0.0.1:20123/"),
        ("HTTP://LOCALHOST:8888/x", "http://127.0.0.1:20123/x"),
        ("http://lab.localhost:8888/?q=http://x/", "http://127.0.0.1:20123/?q=http://x/"),
        ("http://localhost:8888?token=a", "http://127.0.0.1:20123/?token=a"),
        ("http://localhost:99999/", None),
        ("http://localhost:port/", None),
        ("http://[::1/", None),
        ("http://example.org:8888/", None),
    ],
)
def test_one_word(text: str, url: str | None) -> None:
    found = parse_job_url(text)
    assert (found.at(LOCAL) if found is not None else None) == url


def test_the_port_of_a_scheme() -> None:
    found = [parse_job_url(f"{scheme}://localhost/") for scheme in ("http", "https")]
    assert [url.port for url in found if url is not None] == [80, 443]


def test_a_long_word_is_not_kept() -> None:
    finder = UrlFinder()
    for _ in range(100):
        assert finder.feed(b"x" * 1000) == []
    assert len(finder.feed(b" http://localhost:1/ ")) == 1


@given(st.lists(st.binary(max_size=30)))
def test_any_output_is_taken(pieces: list[bytes]) -> None:
    translated(*pieces)
    translated(*(b"http://localhost:8888/" + piece for piece in pieces))
