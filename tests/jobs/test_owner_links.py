"""The links of owners: which of them share jobs, and which is the last."""

from __future__ import annotations

from dataclasses import replace

from pagent.jobs.owner_links import OwnerLinks
from tests.jobs.conftest import owner


def test_the_last_of_several_links() -> None:
    links = OwnerLinks()
    first, second = owner("c1", by_uid=True), owner("c2", by_uid=True)
    assert not links.has_link(first)
    links.made(first)
    links.made(second)
    assert not links.lost(first)
    assert links.has_link(first)
    assert links.lost(second)
    assert not links.has_link(first)


def test_peers_without_an_instance_own_by_link() -> None:
    links = OwnerLinks()
    first, second = owner("c1"), owner("c2")
    links.made(first)
    links.made(second)
    assert links.lost(first)
    assert links.has_link(second)


def test_owners_differ_by_realm_and_uid() -> None:
    shared = owner("c1", by_uid=True)
    assert shared.key == owner("c2", by_uid=True).key
    assert shared.key != owner("c1", realm="another", by_uid=True).key
    assert shared.key != replace(shared, uid=b"another").key
    assert shared.key != owner("c1").key


def test_a_link_that_was_never_made_is_the_last() -> None:
    assert OwnerLinks().lost(owner())
