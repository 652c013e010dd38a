from __future__ import annotations

import json
import platform
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import ProtocolError
from pagent.wire.identity import read_peer, token_index, user_data

AUTH = {"uid": "router-1", "name": "router", "token": "s3cret"}


def test_an_agents_data_has_the_keys_of_the_original_and_is_json() -> None:
    data = user_data("uid", "agent", properties={"größe": "ü", "a": "1"})
    assert data == {
        "auth": {"uid": "uid", "name": "agent"},
        "platform": {field: str(getattr(platform.uname(), field)) for field in data["platform"]},
        "properties": {"größe": "ü", "a": "1"},
    }
    assert list(data["platform"]) == ["system", "node", "release", "version", "machine", "processor"]
    assert json.loads(json.dumps(data)) == data


def test_only_the_dialling_side_sends_a_token() -> None:
    assert user_data("uid", "name") == {"auth": {"uid": "uid", "name": "name"}}
    assert user_data("uid", "name", token="t") == {"auth": {"uid": "uid", "name": "name", "token": "t"}}


@pytest.mark.parametrize("uid", ["router-1", b"\x00\xff"])
def test_a_peer_is_what_it_says_and_its_token_is_not_passed_on(uid: str | bytes) -> None:
    data = {"auth": {**AUTH, "uid": uid, "more": 1}, "extensions": ["flow", "other", 3], "unknown": [1]}
    peer = read_peer(data)
    assert peer[:4] == (uid, "router", "s3cret", {"flow", "other"})
    assert peer.data == {"auth": {"uid": uid, "name": "router"}, "extensions": ["flow", "other", 3], "unknown": [1]}
    assert data["auth"]["token"] == "s3cret"
    assert "s3cret" not in repr(peer.data)


def test_an_accepting_peer_needs_no_token() -> None:
    assert read_peer({"auth": {"uid": "u", "name": ""}})[:4] == ("u", "", "", frozenset())


@pytest.mark.parametrize("named", [None, "flow", {"flow": 1}, 7, [["flow"]]])
def test_extensions_that_are_no_list_of_names_are_none(named: Any) -> None:
    assert read_peer({"auth": AUTH, "extensions": named}).extensions == frozenset()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "auth",
        {},
        {"auth": None},
        {"auth": [AUTH]},
        {"auth": {**AUTH, "uid": ""}},
        {"auth": {**AUTH, "uid": b""}},
        {"auth": {**AUTH, "uid": 17}},
        {"auth": {**AUTH, "uid": None}},
        {"auth": {"name": "router", "token": "s3cret"}},
        {"auth": {**AUTH, "name": None}},
        {"auth": {**AUTH, "name": b"router"}},
        {"auth": {"uid": "u", "token": "s3cret"}},
        {"auth": {**AUTH, "token": b"s3cret"}},
        {"auth": {**AUTH, "token": None}},
        {"auth": {**AUTH, "token": ["s3cret"]}},
    ],
)
def test_a_peer_without_an_identity_gets_1002_and_no_token(data: Any) -> None:
    with pytest.raises(ProtocolError, match="handshake refused") as caught:
        read_peer(data)
    assert caught.value.code == 1002
    assert "s3cret" not in str(caught.value)


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["auth", "uid", "name", "token", "extensions"]) | st.integers(), inner)
    ),
    max_leaves=12,
)


@given(_values)
def test_whatever_a_peer_says_it_is_read_or_refused(data: Any) -> None:
    try:
        peer = read_peer(data)
    except ProtocolError as error:
        code = error.code
    else:
        code = 1002
        assert peer.uid == data["auth"]["uid"]
        assert "token" not in peer.data["auth"]
    assert code == 1002


def test_a_token_is_found_by_its_place_in_the_list() -> None:
    assert token_index("b", ["a", "b", "c"]) == 1
    assert token_index("ü", ["ü"]) == 0


@pytest.mark.parametrize(("token", "accepted"), [("x", []), ("", []), ("", [""]), ("", ["a"]), ("a", ["aa", "A", ""])])
def test_no_other_token_and_no_empty_one_is_found(token: str, accepted: list[str]) -> None:
    assert token_index(token, accepted) is None


def test_a_token_of_lone_surrogates_is_just_another_one() -> None:
    assert token_index("\ud800", ["a"]) is None
