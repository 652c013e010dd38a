"""Generate the annotated file of all keys and defaults from the model of an agent or a router.

``python -m pagent.config.reference agent > pagent/config/default.yaml`` renews the copy in the package; with ``router``
that in ``pagent/config/router.yaml``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from pagent.config.model import RULE, Settings
from pagent.config.router import RouterSettings

_WIDTH = 100

#: By the name on the command line: the model, and its module.
MODELS: Final[dict[str, tuple[type, str]]] = {
    "agent": (Settings, "pagent/config/model.py"),
    "router": (RouterSettings, "pagent/config/router.py"),
}


def reference(name: str) -> str:
    """Return YAML that `load.load_model` reads as the defaults, with the help text of each key above it."""
    model, source = MODELS[name]
    head = f"Every key with its default. Generated from {source}; a file of your own needs\n"
    head += "only the keys that it changes."
    lines = [f"# {line}" for line in head.splitlines()]
    return "\n".join([*lines, *_section(model(), 0)]) + "\n"


def _section(settings: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if depth == 0:
            yield ""
        prefix = f"{indent}# "
        yield from textwrap.wrap(field.metadata[RULE].help, _WIDTH, initial_indent=prefix, subsequent_indent=prefix)
        if dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _section(value, depth + 1)
        else:
            yield f"{indent}{field.name}: {json.dumps(value)}"


if __name__ == "__main__":
    sys.stdout.write(reference(sys.argv[1]))
