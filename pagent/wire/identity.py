"""The identity of both ends of a link: user data, tokens, extensions (docs/protocol.rst, "Handshake")."""

from __future__ import annotations

import hmac
import platform
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pagent.errors import ProtocolError

FLOW: Final = "flow"
#: On the stream of a file, an int stands for that number of zeros; archives hold sparse files as such.
HOLES: Final = "holes"

#: The heads of ``http_request`` with ``raw`` may be lines in one bin, instead of lists of pairs.
LINES: Final = "lines"

#: The extensions that this implementation knows.
EXTENSIONS: Final = (FLOW, HOLES, LINES)

#: Keys of user data that, like the token, appear in no output and no log.
INSTANCE: Final = "instance"
REPLACES: Final = "replaces"
#: The credential that an agent of a pool presents on its later links; the router has issued it.
CREDENTIAL: Final = "credential"
_PRIVATE: Final = frozenset((INSTANCE, REPLACES, CREDENTIAL))


class Peer(NamedTuple):
    """The other end of a link, as its handshake names it. ``data`` is its user data without private keys.

    ``instance`` distinguishes a process that has come back from another with the same uid. ``replaces`` is the id of
    the link that it has lost. ``credential`` is issued by a router to an agent that has joined it. None where the peer
    names none.
    """

    uid: str | bytes
    name: str
    token: str
    extensions: frozenset[str]
    instance: str | None
    replaces: str | None
    credential: str | None
    data: dict[str, Any]


def user_data(
    uid: str,
    name: str,
    *,
    token: str | None = None,
    properties: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return user data: ``token`` from a dialling side only, ``properties`` (and the platform) from agents only."""
    auth = {"uid": uid, "name": name}
    if token is not None:
        auth["token"] = token
    data: dict[str, Any] = {"auth": auth}
    if properties is not None:
        data["platform"] = platform_data()
        data["properties"] = dict(properties)
    return data


def platform_data() -> dict[str, str]:
    """Return the description of this machine: the fields of ``platform.uname``."""
    system = platform.uname()
    fields = ("system", "node", "release", "version", "machine", "processor")
    return {field: str(getattr(system, field)) for field in fields}


def read_peer(data: Any) -> Peer:
    """Return the peer that sent this user data.

    :raises ProtocolError: code 1002; the text names the fault and never contains the token.
    """
    if type(data) is not dict or type(auth := data.get("auth")) is not dict:
        raise ProtocolError("handshake refused: user data without auth")
    uid, name, token = auth.get("uid"), auth.get("name"), auth.get("token", "")
    if not isinstance(uid, (str, bytes)) or not uid:
        raise ProtocolError("handshake refused: no uid")
    if type(name) is not str:
        raise ProtocolError("handshake refused: no name")
    if type(token) is not str:
        raise ProtocolError("handshake refused: the token is not a string")
    named = data.get("extensions")
    extensions = frozenset(e for e in named if type(e) is str) if type(named) is list else frozenset()
    public = {key: value for key, value in data.items() if key not in _PRIVATE} | {"auth": {"uid": uid, "name": name}}
    return Peer(
        uid, name, token, extensions, _text(data, INSTANCE), _text(data, REPLACES), _text(data, CREDENTIAL), public
    )


def _text(data: dict[str, Any], key: str) -> str | None:
    """Return the text of an optional key; None for any other value."""
    value = data.get(key)
    return value if type(value) is str and value else None


def token_index(token: str, accepted: Iterable[str]) -> int | None:
    """Return the index of the token among the accepted ones; None for an unknown or empty one.

    The token is compared in constant time with every token of the list, so the time reveals nothing.
    """
    given = token.encode("utf-8", "replace")
    found = None
    for index, candidate in enumerate(accepted):
        if hmac.compare_digest(given, candidate.encode("utf-8", "replace")) and given:
            found = index
    return found
