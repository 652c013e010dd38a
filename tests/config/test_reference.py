from __future__ import annotations

from pathlib import Path

import pytest

from pagent import config
from pagent.config.load import load
from pagent.config.model import Settings
from pagent.config.reference import reference

SHIPPED = Path(config.__path__[0]) / "default.yaml"
EXAMPLES = Path(__file__).resolve().parents[2] / "config"


def test_the_shipped_file_is_the_generated_one() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == reference(), "renew it: see pagent/config/reference.py"


def test_the_shipped_file_gives_the_defaults() -> None:
    assert load(SHIPPED) == Settings()


def test_the_example_that_listens() -> None:
    settings = load(EXAMPLES / "listening.yaml")
    assert settings.server.enabled
    assert settings.server.accept_tokens_file
    assert not settings.client.enabled


def test_the_example_that_dials() -> None:
    settings = load(EXAMPLES / "dialling.yaml")
    assert settings.client.enabled
    assert settings.client.address
    assert not settings.server.enabled


def test_the_example_that_does_both() -> None:
    settings = load(EXAMPLES / "both.yaml")
    assert settings.server.enabled
    assert settings.client.enabled
    assert settings.properties["gpu"] == "2"
    assert settings.jobs.port_ownership == "enforce"


def test_no_example_is_untested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == {"listening.yaml", "dialling.yaml", "both.yaml"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_listen_on_this_machine_only(path: Path) -> None:
    settings = load(path)
    assert {settings.server.interface, settings.control.interface} == {"127.0.0.1"}


def test_the_demonstration_page_needs_nothing_from_elsewhere() -> None:
    page = (EXAMPLES / "www" / "index.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "//" not in page
