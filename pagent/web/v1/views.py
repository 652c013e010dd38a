"""The objects of the API as JSON values, for answers to GET and for events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pagent.access.scopes import OWNER
from pagent.job_states import CLOSED, FINISHED, NEW, PENDING, QUEUED, RUNNING, UNREACHABLE
from pagent.rfc3339 import utc_text
from pagent.web.routes import KnownJob, RoutedAgent
from pagent.web.v1.said import integer, integers, mapping, number, text, texts

#: All states that a job can be in.
STATES: Final = (NEW, PENDING, RUNNING, FINISHED, CLOSED, UNREACHABLE, QUEUED, "unknown")
#: Keys of an agent's info that are passed on, with the types of their values.
_PASSED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": text,
    "ports": integers,
    "pid": integer,
    "exit_code": integer,
    "signal": text,
    "error": text,
    "open_streams": integer,
    "cpu_seconds": number,
    "rss_bytes": number,
}
_TIMES: Final = ("created_at", "started_at", "finished_at", "removed_at", "last_request_at", "last_input_at")
#: Figures of a host that are passed on.
_FIGURES: Final = ("cpus", "load", "memory_total", "memory_available", "disk_free", "disk_total", "jobs_max", "version")


def time_text(seconds: object) -> str | None:
    """Return a time in RFC 3339; None for a number that is no time of the calendar."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    try:
        return utc_text(seconds)
    except (ValueError, OverflowError, OSError):
        return None


#: Those of a job that waits for an agent of its pool, or got none.
_OF_POOL: Final[Mapping[str, Callable[[Any], Any]]] = {
    "pool": text,
    "message": text,
    "state_changed_at": time_text,
    "command_job": text,
    "command_output": texts,
}


def job_view(job: KnownJob, *, away: bool) -> dict[str, Any]:
    """Return a job."""
    info = job.info()
    stderr = info.get("stderr")
    return {
        "uid": job.uid,
        "state": UNREACHABLE if away else job.state,
        "agent": job.agent_uid or None,
        "owner": job.labels.get(OWNER),
        "labels": dict(job.labels),
        **{name: read(info.get(name)) for name, read in _PASSED.items()},
        **{name: time_text(info.get(name)) for name in _TIMES},
        "stderr": stderr.decode("utf-8", "replace") if isinstance(stderr, bytes) else None,
        **{name: said for name, read in _OF_POOL.items() if (said := read(info.get(name))) is not None},
    }


def agent_view(links: Iterable[RoutedAgent], jobs: int) -> dict[str, Any]:
    """Return an agent with all its links; ``jobs``: how many of its jobs are known."""
    found = [*links]
    newest = found[-1]
    figures = newest.figures()
    return {
        "uid": newest.uid,
        "name": newest.name,
        **{name: mapping(said) for name, said in newest.describe().items()},
        "cordoned": figures["cordoned"],
        "jobs": jobs,
        "links": [{"connection": link.connection_id, "mode": link.mode} for link in found],
        **{name: figures[name] for name in _FIGURES},
        "started_at": time_text(figures["started_at"]),
        "deadline": time_text(figures["deadline"]),
    }
