"""Check the architecture: floors, fences, import circles, class names and the length of modules.

The checks read the sources and run nothing. Imports inside functions and under ``if TYPE_CHECKING`` count as well.
Small trees made here show that each check can fail.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "pagent"

#: From the ground up. A unit (a module or package directly below pagent) imports only from floors below its own. The
#: vocabulary has two floors, because `log` and `config` raise errors and have limits too.
FLOORS: list[set[str]] = [
    {"errors", "job_states", "limits", "names", "rfc3339"},
    {"log", "config", "buffers", "unix", "router_limits", "system_errors"},
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

#: The modules that may import a library, by the longest name that fits. No module may import any other library.
FENCES: dict[str, set[str]] = {
    "msgpack": {"wire.values"},
    "wsproto": {"wire.upgrade"},
    "h11": {"wire.upgrade"},
    "psutil": {"jobs"},
    "aiohttp": {"web"},
    "yaml": {"config.load"},
    "click": {"cli"},
    "orjson": {"web", "log"},
    "prometheus_client": {"web.metrics"},
    "uvloop": {"cli"},
    "brotli": {"http1.extra_codings"},
    "zstandard": {"http1.extra_codings"},
}

#: The sans-I/O units, and the modules with a clock, a socket or a loop, which they do not import.
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
    """Return all violations of floors, fences and lengths in the package at ``root``, each as ``file:line: fault``."""
    found = []
    for path, module in modules(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root.parent).as_posix()
        lines = text.count("\n")
        if lines > LINES_MAX:
            found.append(f"{name}:{lines}: longer than {LINES_MAX} lines")
        for line, imported, level in imports(ast.parse(text), root, package_of(path, root)):
            found += [f"{name}:{line}: {fault}" for fault in faults(module, imported, level, root.name)]
    return found


def modules(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file of the package, and the name of its module relative to the package."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: Path, root: Path) -> str:
    """Return the package that relative imports of the module start from."""
    return ".".join([root.name, *path.relative_to(root).parts[:-1]])


def circular(root: Path) -> set[str]:
    """Return the modules that are part of an import circle: each of them imports itself through others."""
    graph: dict[str, set[str]] = {}
    for path, module in modules(root):
        found = imports(ast.parse(path.read_text(encoding="utf-8")), root, package_of(path, root))
        names = {imported.removeprefix(f"{root.name}.") for _, imported, _ in found}
        graph[module] = names - {module}
    return {module for module in graph if module in reachable(graph, module)}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that ``start`` imports, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph.get(waiting.pop(), set()) - found:
            found.add(name)
            waiting.append(name)
    return found


def defined_twice(root: Path) -> set[str]:
    """Return the class names that the package defines more than once."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path, _ in modules(root)]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {name for name, count in names.items() if count > 1}


def imports(tree: ast.AST, root: Path, package: str) -> Iterator[tuple[int, str, int]]:
    """Yield the line, the absolute dotted name and the relative level of each import of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from package import x`: x is a module of the package, or a name in its `__init__`.
                full = f"{origin}.{alias.name}"
                yield node.lineno, full if is_module(root, full) else origin, node.level


def is_module(root: Path, dotted: str) -> bool:
    path = root.parent.joinpath(*dotted.split("."))
    return dotted.startswith(f"{root.name}.") and (path.is_dir() or path.with_suffix(".py").is_file())


def faults(module: str, imported: str, level: int, own: str) -> Iterator[str]:
    """Yield the faults of one import. ``own`` is the name of the package."""
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


def test_no_module_is_part_of_an_import_circle() -> None:
    assert circular(ROOT) == set()


def test_no_class_name_is_defined_twice() -> None:
    assert defined_twice(ROOT) == set()


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


@pytest.mark.parametrize(
    "files",
    [
        {"net/a.py": "import pagent.net.b", "net/b.py": "from . import a"},
        {"net/a.py": "from pagent.net.b import x", "net/b.py": "def f():\n    from pagent.net import a"},
        {"net/a.py": "if TYPE_CHECKING:\n    from pagent.net.b import x", "net/b.py": "import pagent.net.a"},
        {"net/a.py": "import pagent.net", "net/__init__.py": "from pagent.net.a import x"},
        {"net/a.py": "from .c import x", "net/c.py": "from .b import x", "net/b.py": "from .a import x"},
    ],
)
def test_a_circle_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    expected = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
    assert circular(tree(tmp_path, {**files, "net/other.py": "import pagent.net.a"})) == expected


def test_imports_without_a_circle_are_accepted(tmp_path: Path) -> None:
    files = {"net/a.py": "import pagent.net.b, pagent.net.c", "net/b.py": "from . import c", "net/c.py": ""}
    assert circular(tree(tmp_path, files)) == set()


def test_a_class_name_that_is_defined_twice_is_found(tmp_path: Path) -> None:
    files = {"net/a.py": "class A: pass\nclass B: pass", "rpc/b.py": "def f():\n    class A: pass"}
    assert defined_twice(tree(tmp_path, files)) == {"A"}


def test_every_fence_is_of_a_dependency() -> None:
    declared = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    names = {"yaml": "pyyaml", "prometheus_client": "prometheus-client"}
    for library in {fence.partition(".")[0] for fence in FENCES}:
        assert f'"{names.get(library, library)}>=' in declared
