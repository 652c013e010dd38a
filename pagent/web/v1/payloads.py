"""The shapes of the bodies of requests to ``/v1``; :mod:`pagent.web.v1.shapes` has the checks."""

from __future__ import annotations

import re
from typing import Any, Final

from pagent.access.scopes import OWN_LABELS
from pagent.limits import (
    GRACE_MAX_S,
    JOB_NAME_MAX,
    LABEL_VALUE_MAX,
    LABELS_MAX,
    LINGER_MAX_S,
    PORTS_PER_JOB,
    READY_TIMEOUT_MAX_S,
    RUN_TIMEOUT_MAX_S,
)
from pagent.router_limits import (
    CREATION_FILES_MAX,
    CREATION_KEY_MAX,
    SUBJECT_NAME_MAX,
    TICKET_CODE_MAX_S,
    TICKET_NOTE_MAX,
    TICKET_PORTS_MAX,
    TICKET_TTL_MAX_S,
)
from pagent.rpc.new_job import ORDERS
from pagent.web.v1.shapes import (
    any_of,
    boolean,
    fault,
    integer,
    list_of,
    map_of,
    mapping,
    nullable,
    number,
    one_of,
    text,
)

#: ``PATCH /v1/agents/<uid>``
CORDON: Final = mapping({"cordoned": boolean})


def _anything(place: str, value: Any) -> None:
    """Check nothing: conditions are parsed where they are used."""


def _signal(place: str, value: Any) -> None:
    if type(value) is not str:
        _SIGNAL(place, value)


_SIGNAL: Final = integer(1, 64)

#: ``POST /v1/jobs/<uid>/kill``
KILL: Final = mapping({}, {"signal": _signal, "grace": number(0, GRACE_MAX_S)})

_CONTENT: Final = any_of(
    "{'text': …} or {'base64': …}", text=mapping({"text": text()}), base64=mapping({"base64": text()})
)


def _port(place: str, value: Any) -> None:
    if value != "auto":
        _PORT(place, value)


_PORT: Final = integer(1, 65535)
_SECONDS: Final = number(0, RUN_TIMEOUT_MAX_S)


def _ports(place: str, value: Any) -> None:
    list_of(_PORT, most=TICKET_PORTS_MAX, least=1)(place, value)
    if len(set(value)) < len(value):
        raise fault(place, "must not have a port twice")


def _subject(place: str, value: Any) -> None:
    text(SUBJECT_NAME_MAX, least=1)(place, value)
    if not value.isprintable():
        raise fault(place, "must have no control characters")


#: ``POST /v1/jobs/<uid>/tickets``
TICKET: Final = mapping(
    {},
    {
        "ports": _ports,
        "ttl_s": integer(1, TICKET_TTL_MAX_S),
        "code_s": integer(1, TICKET_CODE_MAX_S),
        "embed": boolean,
        "subject": nullable(_subject),
        "note": nullable(text(TICKET_NOTE_MAX)),
    },
)

#: ``POST /v1/jobs/<uid>/start``: the arguments of ``job_start``.
START: Final = mapping(
    {"args": list_of(text(), least=1)},
    {
        "env": map_of(text()),
        "cwd": nullable(text()),
        "port_expected_count": integer(0, PORTS_PER_JOB),
        "forward_stdout": boolean,
        "port": nullable(_port),
        "ready": one_of("report", "connect"),
        "ready_timeout": number(0, READY_TIMEOUT_MAX_S),
        "timeout": nullable(_SECONDS),
        "prefer_port": nullable(_PORT),
        "more_ports": map_of(_port),
        "stdin": nullable(_CONTENT),
    },
)


def _labels(place: str, value: Any) -> None:
    _LABELS(place, value)
    for name in value:
        if not _LABEL_NAME.fullmatch(name):
            raise fault(place, f"has the name {name!r:.100}, which does not match {_LABEL_NAME.pattern}")
        if name.startswith(OWN_LABELS):
            raise fault(place, f"has the name {name!r:.100}: names that begin with {OWN_LABELS} are set by the router")


_LABELS: Final = map_of(text(LABEL_VALUE_MAX), most=LABELS_MAX)
_LABEL_NAME: Final = re.compile(r"[a-z0-9./-]{1,63}")

_POOL: Final = map_of(text(least=1))
_CHOICE: Final = mapping({}, {"where": map_of(_anything), "order": one_of(*ORDERS)})


def _agent(place: str, value: Any) -> None:
    if type(value) is str:
        text(least=1)(place, value)
    elif type(value) is dict and "pool" in value:
        _POOL(place, value)
    else:
        _CHOICE(place, value)


def _key(place: str, value: Any) -> None:
    text(least=1)(place, value)
    if len(value) > CREATION_KEY_MAX:
        raise fault(place, f"must have at most {CREATION_KEY_MAX} characters, not {len(value)}")


def _idle(place: str, value: Any) -> None:
    _SECONDS(place, value)
    if not value:
        raise fault(place, "must be more than 0")


def _file(place: str, value: Any) -> None:
    if type(value) is not dict:
        raise fault(place, "must be a map")
    _PATH(place, {name: each for name, each in value.items() if name not in _BYTES})
    _CONTENT(place, {name: each for name, each in value.items() if name in _BYTES})


_BYTES: Final = ("text", "base64")
_PATH: Final = mapping({"path": text(least=1)}, {"executable": boolean})

#: ``POST /v1/jobs``
NEW_JOB: Final = mapping(
    {},
    {
        "name": nullable(text(JOB_NAME_MAX)),
        "labels": _labels,
        "agent": nullable(_agent),
        "linger": nullable(number(0, LINGER_MAX_S)),
        "idle_after": nullable(_idle),
        "key": nullable(_key),
        "files": list_of(_file, most=CREATION_FILES_MAX),
        "start": nullable(START),
        "ticket": nullable(TICKET),
    },
)
