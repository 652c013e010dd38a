from __future__ import annotations

import pytest

from pagent.access.dialling import DialRules
from pagent.errors import ConfigError, DialError, RequestRefusedError


async def allowed(allow: list[str] | None, host: str, port: int = 80) -> bool:
    try:
        return bool(await DialRules(allow).resolve(host, port))
    except RequestRefusedError as error:
        return error.status != 403


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.1.2.3"])
async def test_without_a_list_everything_may_be_dialled(host: str) -> None:
    assert await DialRules(None).resolve(host, 80) == [host]


async def test_an_empty_list_allows_nothing() -> None:
    assert not await allowed([], "127.0.0.1")


@pytest.mark.parametrize(
    ("entry", "host", "port", "expected"),
    [
        ("10.0.0.0/8", "10.1.2.3", 1, True),
        ("10.0.0.0/8", "11.1.2.3", 1, False),
        ("127.0.0.1", "127.0.0.1", 1, True),
        ("127.0.0.1", "127.0.0.2", 1, False),
        ("::1/128", "::1", 1, True),
        ("::1/128", "127.0.0.1", 1, False),
        ("localhost", "localhost", 1, True),
        ("LOCALHOST", "LocalHost", 1, True),
        ("localhost:7", "localhost", 7, True),
        ("localhost:7", "localhost", 8, False),
        ("127.0.0.0/8", "localhost", 1, True),  # by its address
        ("other.example", "localhost", 1, False),
    ],
)
async def test_the_list(entry: str, host: str, port: int, expected: bool) -> None:
    assert await allowed([entry], host, port) is expected


async def test_only_addresses_of_the_list_are_given() -> None:
    assert await DialRules(["127.0.0.0/8"]).resolve("localhost", 80) == ["127.0.0.1"]


async def test_a_name_without_an_address() -> None:
    with pytest.raises(DialError):
        await DialRules(None).resolve("no-such-name.invalid", 80)


@pytest.mark.parametrize("entry", ["http://a", "a/b", "10.0.0.0/40", ":7", "a:x"])
def test_an_invalid_entry_is_a_fault_of_the_configuration(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"^dial\.allow: "):
        DialRules([entry])
