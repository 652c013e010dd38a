"""Count the links of each owner of jobs. The jobs of an owner live as long as it has a link."""

from __future__ import annotations

from collections import Counter

from pagent.jobs.model import Owner


class OwnerLinks:
    """Counts the links of owners, by :attr:`Owner.key`."""

    def __init__(self) -> None:
        self._links: Counter[object] = Counter()

    def made(self, owner: Owner) -> None:
        """Count a new link of the owner."""
        self._links[owner.key] += 1

    def lost(self, owner: Owner) -> bool:
        """Count a lost link; return whether the owner has no other."""
        self._links[owner.key] -= 1
        if self._links[owner.key] > 0:
            return False
        del self._links[owner.key]
        return True

    def has_link(self, owner: Owner) -> bool:
        """Return whether the owner has a link."""
        return owner.key in self._links
