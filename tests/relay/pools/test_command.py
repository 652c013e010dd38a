from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import ConfigError, RequestRefusedError
from pagent.relay.pools.command import check_parameters, check_pool_name, filled, parameters_of

NAMES = ("cpus", "partition")


def test_parameters_in_the_order_of_their_first_use() -> None:
    command = ["srun", "-c", "{cpus}", "--job-name=pagent-{rid}", "-p{partition}", "{cpus}{{x}}", "{1}", "{}"]
    assert parameters_of(command, ["scancel", "{rid}", "{cluster}"]) == ("cpus", "partition", "x", "cluster")


@given(st.dictionaries(st.sampled_from([*NAMES, "other"]), st.one_of(st.text(), st.integers(), st.none())))
def test_values_are_accepted_only_in_their_alphabet(given_: dict[str, object]) -> None:
    try:
        values = check_parameters(NAMES, given_)
    except RequestRefusedError:
        return
    assert values == given_
    for value in values.values():
        assert 0 < len(value) <= 64
        assert value.isascii()
        assert all(character.isalnum() or character in "._:-" for character in value)


@pytest.mark.parametrize("value", ["", "a b", "a\n", "$(id)", "a/b", "ä", "{cpus}", "x" * 65, "a\0"])
def test_text_with_a_meaning_for_a_shell_is_no_value(value: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"agent\.cpus: must be"):
        check_parameters(("cpus",), {"cpus": value})


@given(st.text(alphabet="-.:_aZ9", min_size=1, max_size=64))
def test_a_value_never_becomes_an_option_or_a_second_argument(value: str) -> None:
    command = ["srun", "-c{cpus}", "{cpus}", "x{cpus}"]
    try:
        arguments = filled(command, {"cpus": value})
    except ValueError:
        assert value.startswith("-")
        return
    assert arguments == ["srun", f"-c{value}", value, f"x{value}"]


def test_a_value_that_looks_like_a_parameter_is_not_filled_again() -> None:
    assert filled(["{a}"], {"a": "{b}", "b": "x"}) == ["{b}"]


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a" * 33, "a\n", "ä", "a/b"])
def test_a_name_that_no_pool_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match="pools"):
        check_pool_name(name)


@pytest.mark.parametrize("name", ["a", "0-", "gpu-a100", "a" * 32])
def test_a_name_of_a_pool(name: str) -> None:
    check_pool_name(name)
