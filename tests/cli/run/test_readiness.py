from __future__ import annotations

from pathlib import Path

import pytest

from pagent.cli.ports.publish import parse_publish, plan_ports
from pagent.cli.run.readiness import misplaced_listener, port_hint


def hint_for(*command: str, folder: Path | None = None, publishes: tuple[str, ...] = ()) -> str | None:
    wanted = plan_ports([parse_publish(text) for text in publishes], None, command)
    return port_hint(command, wanted, None if folder is None else str(folder))


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "{port}"],
        ["serve", "--listen=127.0.0.1:{port}"],
        ["sh", "-c", "exec serve $PORT"],
        ["sh", "-c", "exec serve ${PORT:-80}"],
        ["python3", "-c", 'import os; serve(os.environ["PORT"])'],
        ["python3", "-c", 'import os; serve(os.getenv("PORT", 80))'],
        ["node", "-e", "listen(process.env.PORT || 3000)"],
        ["ruby", "-e", "serve ENV['PORT']"],
    ],
)
def test_a_command_that_gets_its_port(command: list[str]) -> None:
    assert hint_for(*command) is None


@pytest.mark.parametrize(
    "command",
    [
        ["python3", "-m", "http.server"],
        ["python3", "-m", "http.server", "8000"],
        ["serve", "{{port}}"],
        ["serve", "{port:db}"],
        ["python3", "-c", "PORT = 8000"],
        ["serve", "--import", "REPORT"],
    ],
)
def test_a_command_that_does_not_get_its_port(command: list[str]) -> None:
    assert "the command has no {port}" in str(hint_for(*command))


def test_scripts_are_searched(tmp_path: Path) -> None:
    (tmp_path / "reads.py").write_text('import os\nport = int(os.environ.get("PORT", 8000))\n')
    (tmp_path / "app.js").write_text("const port = process.env.PORT || 3000;\n")
    (tmp_path / "fixed.py").write_text("import os\nhome = os.environ['HOME']\nPORT = 8000\n")
    assert hint_for("python3", "reads.py", folder=tmp_path) is None
    assert hint_for("node", "app.js", folder=tmp_path) is None
    for name in ("fixed.py", "missing.py", ".", "a\0b"):
        assert "--port N" in str(hint_for("python3", name, folder=tmp_path))
    assert (
        hint_for("python3", str(tmp_path / "reads.py"), folder=None) is not None
    )  # a remote agent's files cannot be searched


def test_a_local_port_that_the_command_uses_itself() -> None:
    text = hint_for("python3", "-m", "http.server", "8080", publishes=("8080",))
    assert text == "the command has no {port}; if it listens on port 8080, use -p 8080:8080"
    assert hint_for("python3", "-m", "http.server", "8000", publishes=("8080:8000",)) is None


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([], ""),
        ([("127.0.0.1", 80)], ""),
        ([("0.0.0.0", 80)], ""),
        ([("::", 80)], ""),
        ([("::1", 80)], ""),
        ([("::ffff:127.0.0.1", 80)], ""),
        ([("::ffff:0.0.0.0", 80)], ""),
        ([("127.0.0.2", 80)], "it listens on 127.0.0.2 port 80; it has to listen on 127.0.0.1"),
        ([("10.1.2.3", 80)], "it listens on 10.1.2.3 port 80"),
        ([("10.1.2.3", 80), ("127.0.0.1", 80)], ""),
        ([("127.0.0.1", 8000)], "it listens on port 8000; use --port 8000"),
        ([("127.0.0.1", 9000), ("0.0.0.0", 8000)], "it listens on port 8000; use --port 8000"),
        ([("127.0.0.1", 8000), ("127.0.0.1", 80)], ""),
    ],
)
def test_a_job_that_listens_elsewhere_gets_advice(addresses: list[tuple[str, int]], expected: str) -> None:
    found = misplaced_listener(80, addresses)
    assert found.startswith(expected)
    assert bool(found) is bool(expected)
