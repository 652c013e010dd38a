from __future__ import annotations

from itertools import islice

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.ports.publish import PortPlan, Publish, parse_publish, plan_ports, publishes_of, stable_ports

MAIN = ""


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8080", Publish(8080)),
        ("0", Publish(0)),
        ("8080:80", Publish(8080, 80)),
        (":80", Publish(0, 80)),
        ("0:80", Publish(0, 80)),
        ("8080:db", Publish(8080, "db")),
        (":db-1", Publish(0, "db-1")),
    ],
)
def test_valid_mappings(text: str, meant: Publish) -> None:
    assert parse_publish(text) == meant


@pytest.mark.parametrize(
    "text", ["", ":", "80:", "x", "-1", "65536", "80:0", "80:65536", "80:80:80", "127.0.0.1:80", "8 0", "٨٠", "80:a b"]
)
def test_invalid_mappings(text: str) -> None:
    with pytest.raises(
        click.BadParameter, match="is not a valid port mapping: write LOCAL or LOCAL:JOB, with ports from 1 to 65535"
    ):
        parse_publish(text)


def test_a_local_port_has_one_target() -> None:
    option = click.Option(["-p"])
    ctx = click.Context(click.Command("run"))
    assert publishes_of(ctx, option, ("0:80", ":81", "0", "8080")) == (
        Publish(0, 80),
        Publish(0, 81),
        Publish(0),
        Publish(8080),
    )
    with pytest.raises(click.BadParameter, match="local port 8080 is given twice"):
        publishes_of(ctx, option, ("8080:80", "9", "8080:81"))


@given(st.text(max_size=12))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        publish = parse_publish(text)
    except click.BadParameter:
        return
    assert 0 <= publish.local <= 65535


def planned(*publishes: str, port: int | None = None, command: str = "serve") -> PortPlan:
    return plan_ports([parse_publish(text) for text in publishes], port, command.split())


@pytest.mark.parametrize(
    ("meant", "main", "more", "published"),
    [
        (planned(), None, {}, [(0, MAIN)]),
        (planned(port=8000), 8000, {}, [(0, MAIN)]),
        (planned("8080"), None, {}, [(8080, MAIN)]),
        (planned("8080", "8081"), None, {}, [(8080, MAIN), (8081, MAIN)]),
        (planned("8080:8000"), 8000, {}, [(8080, MAIN)]),
        (planned("8080:8000", command="serve {port}"), 8000, {}, [(8080, MAIN)]),
        (planned("8080:8000", "9090:9000"), 8000, {"9000": 9000}, [(8080, MAIN), (9090, "9000")]),
        (planned("9090:9000", "8080"), None, {"9000": 9000}, [(9090, "9000"), (8080, MAIN)]),
        (planned("9090:9000", port=8000), 8000, {"9000": 9000}, [(9090, "9000"), (0, MAIN)]),
        (planned("8080:8000", port=8000), 8000, {}, [(8080, MAIN)]),
        (planned(command="serve {port} {port:db}"), None, {"db": "auto"}, [(0, "db"), (0, MAIN)]),
        (planned("5432:db", command="serve {port:db}"), None, {"db": "auto"}, [(5432, "db"), (0, MAIN)]),
        (planned("5432:db"), None, {"db": "auto"}, [(5432, "db"), (0, MAIN)]),
        (planned(command="serve {{port:db}}"), None, {}, [(0, MAIN)]),
    ],
)
def test_the_ports_of_a_command(
    meant: PortPlan, main: int | None, more: dict[str, object], published: list[tuple[int, str]]
) -> None:
    assert (meant.main, meant.more, list(meant.published)) == (main, more, published)


def test_a_command_in_a_folder_has_its_stable_ports() -> None:
    ports = list(stable_ports("/work", ["serve", "x"], MAIN))
    assert ports == list(stable_ports("/work", ["serve", "x"], MAIN))
    assert ports[-1] == 0
    assert len(set(ports)) == len(ports)
    assert all(20_000 <= port < 30_000 for port in ports[:-1])
    others = [("/other", ["serve", "x"], MAIN), ("/work", ["serve"], MAIN), ("/work", ["serve", "x"], "db")]
    assert all(list(islice(stable_ports(*other), 1)) != ports[:1] for other in others)
