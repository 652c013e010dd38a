from __future__ import annotations

from pathlib import Path

import pytest

from pagent import config
from pagent.access.dialling import DialRules
from pagent.config.load import load, load_model
from pagent.config.reference import MODELS, reference
from pagent.config.router import RouterSettings

#: By the name of the model.
SHIPPED = {
    name: Path(config.__path__[0]) / file for name, file in (("agent", "default.yaml"), ("router", "router.yaml"))
}
#: The examples of routers; the others are of agents.
ROUTERS = {"router", "closed"}
EXAMPLES = Path(__file__).resolve().parents[2] / "config"
#: Of agents and routers; the rules of Prometheus are another format.
CONFIGURATIONS = sorted(path for path in EXAMPLES.glob("*.yaml") if not path.stem.startswith("prometheus-"))


@pytest.mark.parametrize("name", MODELS)
def test_the_file_in_the_package_is_the_generated_one(name: str) -> None:
    assert SHIPPED[name].read_text(encoding="utf-8") == reference(name), "renew it: see pagent/config/reference.py"


@pytest.mark.parametrize("name", MODELS)
def test_the_file_in_the_package_has_the_defaults(name: str) -> None:
    model, _ = MODELS[name]
    assert load_model(model, SHIPPED[name]) == model()


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


def test_the_example_of_a_router() -> None:
    settings = load_model(RouterSettings, EXAMPLES / "router.yaml")
    assert settings.identity.uid
    assert settings.server.accept_tokens_file
    assert [agent.address for agent in settings.dial.agents] == ["127.0.0.1:8150"]


def test_the_example_of_a_closed_router() -> None:
    settings = load_model(RouterSettings, EXAMPLES / "closed.yaml")
    assert settings.access.is_closed
    assert settings.access.tokens_file
    DialRules(settings.dial.allow)


def test_the_example_of_a_launcher() -> None:
    settings = load(EXAMPLES / "launcher.yaml")
    assert settings.properties["login"], "pools select it by this"
    assert settings.client.enabled
    assert not settings.server.enabled


def test_no_example_is_untested() -> None:
    names = {"listening.yaml", "dialling.yaml", "both.yaml", "launcher.yaml", "router.yaml", "closed.yaml"}
    assert {path.name for path in CONFIGURATIONS} == names


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_examples_listen_on_this_machine_only(path: Path) -> None:
    settings = load_model(RouterSettings, path) if path.stem in ROUTERS else load(path)
    assert {settings.server.interface, settings.control.interface} == {"127.0.0.1"}


def test_the_demonstration_page_needs_nothing_from_elsewhere() -> None:
    page = (EXAMPLES / "www" / "index.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "//" not in page
