"""``docs/errors.rst``, made from ``pagent/cli/errors.rst``: ``make pages`` generates it."""

from __future__ import annotations

import re
import sys
from typing import Final

from pagent.cli.explained import explanations, source

_HEAD: Final = """\
Errors
======

Made from ``pagent/cli/errors.rst`` by ``make pages``. A test keeps it equal to that file, and the messages in it to the
sources.

A message that has an entry here ends with its name, as in ``(pagent help port-taken)``. That command prints
the entry in a terminal, and ``pagent help errors`` lists all names. ``<word>`` in a message stands for any text.

"""


def page() -> str:
    """Return the whole page."""
    text = source()
    for name in explanations():
        text = re.sub(rf"^(?={name}\n-)", f".. _error-{name}:\n\n", text, flags=re.MULTILINE)
    # One level below the title of the page.
    lines = [re.sub("^-+$", lambda match: "~" * len(match[0]), line) for line in text.splitlines()]
    lines = [re.sub("^=+$", lambda match: "-" * len(match[0]), line) for line in lines]
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
