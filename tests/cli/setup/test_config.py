"""``pagent config``: check, show and example."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pagent import cli


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.pagent, ["config", *words], prog_name="pagent")


@pytest.mark.parametrize("kind", [[], ["--router"]])
def test_the_example_is_valid(tmp_path: Path, kind: list[str]) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(run("example", *kind).stdout)
    result = run("check", *kind, str(path))
    assert (result.exit_code, result.stdout) == (0, f"{path} is valid\n")
    assert run("show", *kind, "--config", str(path)).stdout == "KEY  VALUE  SOURCE\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [("server: {prot: 1}", "server.prot: unknown key; did you mean server.port?"), ("a:\n  - b\n c", "line 3: ")],
)
def test_a_bad_file_is_explained(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    result = run("check", str(path))
    assert result.exit_code == 2
    assert fault in result.stderr


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        (
            [],
            "client: {enabled: true, address: [a:1, http://x]}",
            "client.address[1]: 'http://x' is not a valid address",
        ),
        ([], "client: {enabled: true, address: a:1, proxy: ftp://x}", "client.proxy: "),
        (["--router"], "dial: {agents: [{address: a}]}", "dial.agents[0]: 'a' is not a valid address: port missing"),
    ],
)
def test_an_address_that_a_start_refuses_is_no_valid_one(
    tmp_path: Path, kind: list[str], text: str, fault: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    result = run("check", *kind, str(path))
    assert result.exit_code == 2
    assert fault in result.stderr
    assert f"(in {path})" in result.stderr


def test_values_have_their_sources_and_secrets_are_hidden(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("server: {port: 7000, accept_tokens: [s3cret]}")
    text = run("show", "--config", str(path), "--set", "identity.name='x'").stdout
    rows = [line.split() for line in text.splitlines()[1:]]
    assert rows == [
        ["identity.name", '"x"', "--set"],
        ["server.port", "7000", str(path)],
        ["server.accept_tokens", "(hidden)", str(path)],
    ]
    assert "s3cret" not in run("show", "--all", "--config", str(path)).stdout
