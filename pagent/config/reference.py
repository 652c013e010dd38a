"""The annotated file of all keys and defaults, generated from the model.

``python -m pagent.config.reference > pagent/config/default.yaml`` renews the copy that is shipped.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from pagent.config.model import RULE, Settings

_WIDTH = 100


def reference() -> str:
    """YAML that `load.load` reads as the defaults, with the meaning of each key above it."""
    head = "Every key with its default. Generated from pagent/config/model.py; a file of your own needs\n"
    head += "only the keys that it changes."
    lines = [f"# {line}" for line in head.splitlines()]
    return "\n".join([*lines, *_section(Settings(), 0)]) + "\n"


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
    sys.stdout.write(reference())
