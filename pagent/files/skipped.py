"""What an archive does not hold, or was not unpacked: counted, and the first of them named."""

from __future__ import annotations

from typing import Any

from pagent import limits


class Skipped:
    """Entries that were left out, each with the reason."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def add(self, path: str, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self.names) < limits.SKIPPED_NAMES:
            self.names.append(f"{path}: {reason}")

    def as_dict(self) -> dict[str, Any]:
        """For the result of a call: ``{'skipped': number, 'names': ['path: reason', ...]}``, at most 100 names."""
        return {"skipped": self.count, "names": list(self.names)}

    def __str__(self) -> str:
        shown = "; ".join(name[:200] for name in self.names[:5])
        return f"{self.count} skipped: {shown}{', ...' if self.count > 5 else ''}"
