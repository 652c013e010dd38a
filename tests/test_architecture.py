"""Which module may import what: the floors and the fences of the architecture, held against the source.

The check reads imports, also those inside functions and for type checkers only; it runs nothing. That it can fail is
shown on small trees made up here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "pagent"

#: From the ground up. A unit (a module or package right below pagent) imports only from floors below its own. The
#: vocabulary has two storeys, since everything, `log` and `config` too, raises errors and has limits.
FLOORS: list[set[str]] = [
    {"errors", "limits", "names"},
    {"log", "config", "buffers", "unix"},
    {"wire", "http1"},
    {"runtime"},
    {"net", "jobs", "files"},
    {"rpc", "splice"},
    {"front", "access"},
    {"service", "relay", "web", "client"},
    {"agent", "router"},
    {"cli"},
    {"__main__"},
]

#: Who may import a library, by the longest name that fits. Another library has no place yet.
FENCES: dict[str, set[str]] = {
    "msgpack": {"wire.values"},
    "wsproto": {"wire.upgrade"},
    "h11": {"wire.upgrade"},
    "psutil": {"jobs"},
    "aiohttp": {"web"},
    "yaml": {"config.load"},
    "click": {"cli"},
    "orjson": {"web", "log"},
    "uvloop": {"cli"},
    "brotli": {"http1.coding"},
    "zstandard": {"http1.coding"},
}

#: The sans-I/O units, and what would bring a clock, a socket or a loop into them.
PURE = {"wire", "http1"}
IMPURE = {
    "asyncio",
    "multiprocessing",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}

LINES_MAX = 400


def violations(root: Path) -> list[str]:
    """All that is wrong with the package at ``root``, one text each: ``file:line: what``."""
    found = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        # What relative imports start from: the package that the module is in, or is.
        package = ".".join([root.name, *parts[:-1]])
        name = path.relative_to(root.parent).as_posix()
        lines = text.count("\n")
        if lines > LINES_MAX:
            found.append(f"{name}:{lines}: longer than {LINES_MAX} lines")
        for line, imported, level in imports(ast.parse(text), root, package):
            found += [f"{name}:{line}: {fault}" for fault in faults(module, imported, level, root.name)]
    return found


def imports(tree: ast.AST, root: Path, package: str) -> Iterator[tuple[int, str, int]]:
    """Line, absolute dotted name and relative level of everything that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from package import x`: x is a module of it, or else a name in it.
                full = f"{origin}.{alias.name}"
                yield node.lineno, full if is_module(root, full) else origin, node.level


def is_module(root: Path, dotted: str) -> bool:
    path = root.parent.joinpath(*dotted.split("."))
    return dotted.startswith(f"{root.name}.") and (path.is_dir() or path.with_suffix(".py").is_file())


def faults(module: str, imported: str, level: int, own: str) -> Iterator[str]:
    """What is wrong with this one import. ``own`` is the name of the package."""
    unit = module.partition(".")[0]
    top, _, inside = imported.partition(".")
    if level > 1:
        yield "a relative import that leaves its package"
    if top == own:
        yield from floor_faults(unit, inside.partition(".")[0])
    elif top in sys.stdlib_module_names:
        if unit in PURE and top in IMPURE:
            yield f"{unit} is sans-I/O and imports {top}"
    else:
        yield from fence_faults(module, imported)


def floor_faults(unit: str, other: str) -> Iterator[str]:
    heights = {name: height for height, floor in enumerate(FLOORS) for name in floor}
    if not other or unit == other:
        return
    for name in (unit, other):
        if name not in heights:
            yield f"{name or 'the package itself'} stands on no floor"
            return
    if heights[other] == heights[unit]:
        yield f"{unit} imports its sibling {other}"
    elif heights[other] > heights[unit]:
        yield f"{unit} imports {other} from a floor above"


def fence_faults(module: str, imported: str) -> Iterator[str]:
    fitting = [library for library in FENCES if f"{imported}.".startswith(f"{library}.")]
    if not fitting:
        yield f"{imported} is a library that no fence allows"
        return
    allowed = FENCES[max(fitting, key=len)]
    if not any(f"{module}.".startswith(f"{place}.") for place in allowed):
        yield f"{imported} belongs in {', '.join(sorted(allowed))}"


def test_the_package_keeps_to_its_architecture() -> None:
    assert violations(ROOT) == []


def test_every_unit_is_on_a_floor() -> None:
    units = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert units - set().union(*FLOORS) == {"__init__"}


def tree(tmp_path: Path, files: dict[str, str]) -> Path:
    root = tmp_path / "pagent"
    for name in ("errors.py", "log.py", "wire/frames.py", "net/link.py", "rpc/stream.py", "jobs/ports.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("net/link.py", "from pagent.wire.frames import x\nfrom pagent import errors\nimport pagent.log"),
        ("net/link.py", "from . import tasks\nfrom .tasks import own\nimport asyncio"),
        ("config/load.py", "from pagent.errors import ConfigError\nimport yaml.scanner"),
        ("web/metrics/page.py", "import aiohttp.web, orjson"),
        ("log.py", "import orjson, time"),
        ("net/link.py", "x\n" * 400),
    ],
)
def test_allowed(tmp_path: Path, name: str, text: str) -> None:
    assert violations(tree(tmp_path, {name: text})) == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("wire/frames.py", "import pagent.net.link", ":1: wire imports net from a floor above"),
        ("wire/frames.py", "\nfrom pagent import net", ":2: wire imports net from a floor above"),
        ("net/link.py", "from pagent.jobs.ports import x", ":1: net imports its sibling jobs"),
        ("jobs/ports.py", "def f():\n    from pagent.net import link", ":2: jobs imports its sibling net"),
        ("rpc/__init__.py", "if TYPE_CHECKING:\n    import pagent.agent", ":2: rpc imports agent from a floor above"),
        ("errors.py", "from pagent.limits import KIB", ":1: errors imports its sibling limits"),
        ("log.py", "import pagent.config", ":1: log imports its sibling config"),
        ("net/link.py", "from ..wire import frames", ":1: a relative import that leaves its package"),
        ("helpers.py", "from pagent import errors", ":1: helpers stands on no floor"),
        ("__init__.py", "from pagent import errors", ":1: the package itself stands on no floor"),
        ("wire/frames.py", "import msgpack", ":1: msgpack belongs in wire.values"),
        ("wire/messages_old.py", "import msgpack", ":1: msgpack belongs in wire.values"),
        ("wire/frames.py", "from aiohttp import web", ":1: aiohttp belongs in web"),
        ("agent.py", "import uvloop", ":1: uvloop belongs in cli"),
        ("net/link.py", "import requests", ":1: requests is a library that no fence allows"),
        ("http1/request.py", "import socket", ":1: http1 is sans-I/O and imports socket"),
        ("net/link.py", "x\n" * 401, ":401: longer than 400 lines"),
    ],
)
def test_forbidden(tmp_path: Path, name: str, text: str, fault: str) -> None:
    assert violations(tree(tmp_path, {name: text})) == [f"pagent/{name}{fault}"]


def test_a_relative_import_upward_is_also_held_against_the_floors(tmp_path: Path) -> None:
    root = tree(tmp_path, {"wire/frames.py": "from ..net import link"})
    assert violations(root) == [
        "pagent/wire/frames.py:1: a relative import that leaves its package",
        "pagent/wire/frames.py:1: wire imports net from a floor above",
    ]


def test_every_fence_is_of_a_dependency() -> None:
    declared = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    names = {"yaml": "pyyaml"}
    for library in {fence.partition(".")[0] for fence in FENCES}:
        assert f'"{names.get(library, library)}>=' in declared
