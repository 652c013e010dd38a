"""What the bodies of requests to ``/v1`` must be; :mod:`pagent.web.v1.shapes` has the checks."""

from __future__ import annotations

from typing import Any, Final

from pagent.limits import GRACE_MAX_S, PORTS_PER_JOB, READY_TIMEOUT_MAX_S, RUN_TIMEOUT_MAX_S
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


def _signal(place: str, value: Any) -> None:
    if type(value) not in (str, int):
        raise fault(place, "must be the name or the number of a signal")


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
