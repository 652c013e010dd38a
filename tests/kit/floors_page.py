"""Make docs/floors.rst, the floors of the package, from the architecture test."""

from __future__ import annotations

import sys

from tests.test_architecture import FENCES, FLOORS


def page() -> str:
    """Return the text of docs/floors.rst."""
    lines = [
        "Floors",
        "------",
        "",
        "A module imports only from floors below its own, and packages on one floor do not import each other.",
        "``tests/test_architecture.py`` enforces it. From the top:",
        "",
        "::",
        "",
    ]
    for height in range(len(FLOORS) - 1, -1, -1):
        lines.append(f"    {height}  {'  '.join(sorted(FLOORS[height]))}")
    lines += ["", "Each library is imported in one place:", ""]
    for library, places in sorted(FENCES.items()):
        lines.append(f"* ``{library}``: " + ", ".join(f"``{place}``" for place in sorted(places)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
