"""The example files of ``config/`` can be loaded, and an agent can be started with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagent.config.load import load, load_model
from pagent.config.model import Settings
from pagent.config.router import RouterSettings
from pagent.net.dial import parse_address
from pagent.net.tls import client_context, server_context

FOLDER = Path(__file__).parent.parent / "config"
ROUTERS = ("closed.yaml", "router.yaml")
FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name not in ROUTERS)


def test_there_are_examples_of_each_mode() -> None:
    modes = {(load(FOLDER / name).server.enabled, load(FOLDER / name).client.enabled) for name in FILES}
    assert modes == {(True, False), (False, True), (True, True)}


@pytest.mark.parametrize("name", FILES)
def test_an_example_can_be_loaded_and_started(name: str) -> None:
    settings = load(FOLDER / name)
    assert settings != Settings()
    assert server_context(settings.server.tls) is None
    if settings.client.enabled:
        address = parse_address(settings.client.address)
        assert not address.tls or client_context(settings.client.tls)
    if settings.server.enabled:
        assert settings.server.accept_tokens_file
        assert settings.server.interface == "127.0.0.1"


@pytest.mark.parametrize("name", ROUTERS)
def test_the_example_of_a_router_can_be_started(name: str) -> None:
    settings = load_model(RouterSettings, FOLDER / name)
    assert settings.server.interface == settings.control.interface == "127.0.0.1"
    assert all(parse_address(agent.address) for agent in settings.dial.agents)


@pytest.mark.parametrize("name", [*FILES, *ROUTERS])
def test_an_example_names_its_command(name: str) -> None:
    command = "pagent route" if name in ROUTERS else "pagent"
    assert f"#     {command} --config config/{name}\n" in (FOLDER / name).read_text()


def test_the_page_of_make_run_exists() -> None:
    assert "<title>Hello from a job</title>" in (FOLDER / "www" / "index.html").read_text()
