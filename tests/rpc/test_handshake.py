"""The handshake without a link: the messages of both sides, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.errors import ProtocolError
from pagent.rpc.handshake import Greeted, Handshake
from pagent.wire import identity, messages

DATA = {"auth": {"uid": "u", "name": "n"}}


def side(*, dialled: bool, instance: str | None = None, replaces: str | None = None) -> Handshake:
    return Handshake(
        dialled=dialled,
        user_data=DATA,
        extensions=identity.EXTENSIONS,
        instance=instance,
        replaces=replaces,
        authorise=lambda peer: ("realm of", peer.uid),
    )


def greet(accepting: Handshake, data: Any, version: int = messages.VERSION) -> Greeted:
    return accepting.check(messages.HANDSHAKE, messages.Hello(version, None, data, messages.SUCCESS))


def test_the_dialling_side_names_its_extensions_and_process() -> None:
    assert side(dialled=True).hello() == {**DATA, "extensions": list(identity.EXTENSIONS)}
    named = side(dialled=True, instance="i", replaces="r").hello()
    assert (named["instance"], named["replaces"]) == ("i", "r")


def test_the_accepting_side_answers_in_kind() -> None:
    accepting = side(dialled=False, instance="ours")
    assert greet(accepting, DATA).reply == DATA
    assert greet(accepting, {**DATA, "extensions": []}).reply == {**DATA, "extensions": [], "instance": "ours"}
    assert greet(accepting, {**DATA, "instance": "theirs"}).reply == {**DATA, "instance": "ours"}
    both = greet(accepting, {**DATA, "extensions": ["other", identity.FLOW]})
    assert both.reply == {**DATA, "extensions": [identity.FLOW], "instance": "ours"}
    assert both.extensions == {identity.FLOW}
    assert DATA == {"auth": {"uid": "u", "name": "n"}}


def test_what_an_accepted_peer_is_given_is_left_out_of_its_data() -> None:
    accepting = Handshake(
        dialled=False,
        user_data=DATA,
        extensions=(),
        instance=None,
        replaces=None,
        authorise=lambda peer: None,
        welcome=lambda peer: {"credential": f"for {peer.uid!r}"},
    )
    reply = greet(accepting, DATA).reply
    assert reply == {**DATA, "credential": "for 'u'"}
    peer = identity.read_peer(reply)
    assert (peer.credential, peer.data) == ("for 'u'", DATA)


def test_what_a_peer_is_taken_for() -> None:
    greeted = greet(side(dialled=False), {"auth": {**DATA["auth"], "token": "secret"}, "instance": "i"})
    assert greeted.realm == ("realm of", "u")
    assert greeted.peer.token == ""
    assert greeted.peer.instance == "i"
    assert len(greeted.uid) == 32
    assert greeted.uid != greet(side(dialled=False), DATA).uid


@pytest.mark.parametrize("value", [None, "", 7, b"i", ["i"]])
def test_an_instance_that_is_no_text_is_none(value: Any) -> None:
    peer = greet(side(dialled=False), {**DATA, "instance": value, "replaces": value}).peer
    assert peer.instance is peer.replaces is None
    assert peer.data == DATA


def test_the_dialling_side_takes_the_link_id_of_the_reply() -> None:
    reply = messages.Hello(messages.VERSION, "link-1", DATA, messages.SUCCESS)
    greeted = side(dialled=True).check(messages.HANDSHAKE_REPLY, reply)
    assert (greeted.uid, greeted.reply) == ("link-1", None)


@pytest.mark.parametrize(
    ("dialled", "kind", "hello"),
    [
        (False, messages.HANDSHAKE_REPLY, messages.Hello(1, None, DATA, 0)),
        (True, messages.HANDSHAKE, messages.Hello(1, "id", DATA, 0)),
        (False, messages.CALL_START, None),
        (False, messages.HANDSHAKE, messages.Hello(2, None, DATA, 0)),
        (True, messages.HANDSHAKE_REPLY, messages.Hello(1, "id", DATA, messages.SERVER_ERROR)),
        (True, messages.HANDSHAKE_REPLY, messages.Hello(1, "", DATA, 0)),
        (True, messages.HANDSHAKE_REPLY, messages.Hello(1, 7, DATA, 0)),
        (False, messages.HANDSHAKE, messages.Hello(1, None, {}, 0)),
    ],
    ids=["reply", "request", "call", "version", "status", "empty id", "id of a wrong type", "no auth"],
)
def test_invalid_values_are_refused(dialled: bool, kind: int, hello: Any) -> None:
    with pytest.raises(ProtocolError):
        side(dialled=dialled).check(kind, hello)
