"""The table of the methods that a peer may call."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.rpc import methods
from pagent.wire import messages


class Base:
    @methods.unary
    def inherited(self, call: Any) -> str:
        return "inherited"

    @methods.unary
    def overridden(self, call: Any) -> None:
        """Without its mark in the class below."""


class Service(Base):
    @methods.unary
    def plain(self, call: Any) -> object:
        return self

    @methods.istream
    async def sends(self, call: Any) -> None:
        """A coroutine."""

    @methods.ostream
    def takes(self, call: Any) -> None:
        """Not one."""

    @methods.bistream
    async def both(self, call: Any) -> None:
        """A coroutine."""

    def overridden(self, call: Any) -> None:
        """A method without a decorator, which cannot be called."""

    def private(self) -> None:
        """Another one."""


class Other:
    @methods.unary
    def another(self, call: Any) -> None:
        """Of a second service."""

    @methods.istream
    def plain(self, call: Any) -> None:
        """The name is taken."""


def test_only_what_is_decorated() -> None:
    table = methods.methods_of(Service())
    assert {name: method.call_type for name, method in table.items()} == {
        "inherited": messages.UNARY,
        "plain": messages.UNARY,
        "sends": messages.ISTREAM,
        "takes": messages.OSTREAM,
        "both": messages.BISTREAM,
    }


def test_methods_are_of_their_object() -> None:
    service = Service()
    assert methods.methods_of(service)["plain"].function(None) is service


def test_two_services() -> None:
    table = methods.methods_of(Base(), type("Only", (), {"another": Other.another})())
    assert set(table) == {"inherited", "overridden", "another"}


def test_a_name_twice() -> None:
    with pytest.raises(ValueError, match="two methods are called plain"):
        methods.methods_of(Service(), Other())


def test_no_services() -> None:
    assert methods.methods_of() == {}
