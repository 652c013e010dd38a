"""Check the arguments of ``job_create``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pagent import limits
from pagent.jobs.command import seconds

#: Labels whose names begin so are a router's own.
ROUTER_PREFIX: Final = "pagent/"

_UID: Final = re.compile(r"[0-9a-f]{32}")
_LABEL_NAME: Final = re.compile(r"[a-z0-9./-]{1,63}")


class Terms(NamedTuple):
    """The terms on which a job is created; they hold for its whole life.

    ``uid``: chosen by the caller, None if the agent chooses. ``linger_s``: seconds that the job outlives its owner's
    last link, None if it does not. ``idle_after_s``: seconds without use after which the agent ends it, None for never.
    """

    name: str | None = None
    linger_s: float | None = None
    idle_after_s: float | None = None
    uid: str | None = None
    labels: Mapping[str, str] = MappingProxyType({})


def check_terms(
    name: object = None,
    *,
    linger: object = None,
    uid: object = None,
    labels: object = None,
    idle_after: object = None,
) -> Terms:
    """Check the arguments of a creation as a peer gave them. TypeError or ValueError names the wrong one."""
    return Terms(
        name=_name(name),
        linger_s=None if linger is None else seconds("linger", linger, limits.LINGER_MAX_S, zero=True),
        idle_after_s=None if idle_after is None else seconds("idle_after", idle_after, limits.RUN_TIMEOUT_MAX_S),
        uid=None if uid is None else _uid(uid),
        labels=_labels(labels),
    )


def _name(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"name must be a str or nil, not {type(name).__name__}")
    if len(name.encode("utf-8", "surrogatepass")) > limits.JOB_NAME_MAX:
        raise ValueError(f"name must have at most {limits.JOB_NAME_MAX} bytes")
    return name


def _uid(uid: object) -> str:
    if not isinstance(uid, str):
        raise TypeError(f"uid must be a str or nil, not {type(uid).__name__}")
    if not _UID.fullmatch(uid):
        raise ValueError("uid must be 32 hex digits, in lower case")
    return uid


def _labels(labels: object) -> Mapping[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise TypeError(f"labels must be a map or nil, not {type(labels).__name__}")
    if len(labels) > limits.LABELS_MAX + limits.ROUTER_LABELS_MAX:
        raise ValueError(f"a job has at most {limits.LABELS_MAX} labels")
    checked = {_label_name(name): _label_value(name, value) for name, value in labels.items()}
    of_a_router = sum(name.startswith(ROUTER_PREFIX) for name in checked)
    if len(checked) - of_a_router > limits.LABELS_MAX:
        raise ValueError(f"a job has at most {limits.LABELS_MAX} labels")
    if of_a_router > limits.ROUTER_LABELS_MAX:
        raise ValueError(f"a job has at most {limits.ROUTER_LABELS_MAX} labels that begin with {ROUTER_PREFIX}")
    return checked


def _label_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of a label must be a str, not {type(name).__name__}")
    if not _LABEL_NAME.fullmatch(name):
        raise ValueError(f"the name of a label must match {_LABEL_NAME.pattern}, not {name!r:.80}")
    return name


def _label_value(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"label {name!r} must be a str, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"label {name!r} is not valid Unicode") from None
    if size > limits.LABEL_VALUE_MAX:
        raise ValueError(f"label {name!r} must have at most {limits.LABEL_VALUE_MAX} bytes")
    return value
