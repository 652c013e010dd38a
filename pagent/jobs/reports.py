"""Match port reports to the starts of jobs that wait for them."""

from __future__ import annotations

import hmac
from collections.abc import Container, Iterable, Sequence

from pagent.jobs.ports import ReportError, parse_report
from pagent.jobs.run import Run


async def take_report(params: Sequence[tuple[str, str]], runs: Iterable[Run], own: Container[int]) -> None:
    """Take the decoded query of a port report. ReportError, with the reason, if it is refused.

    ``own``: ports of the agent.
    """
    job_id, port = parse_report(params)
    if port in own:
        raise ReportError("bad port: it is the agent's own")
    run = _run_of(job_id, runs)
    if run is None:
        raise ReportError("unknown job")
    await run.readiness.report(port)


def _run_of(job_id: str, runs: Iterable[Run]) -> Run | None:
    """Return the run that has this secret, in a time that does not depend on the secrets."""
    given = job_id.encode("utf-8", "surrogatepass")
    found = [run for run in runs if hmac.compare_digest(run.secret.encode("ascii"), given)]
    return found[0] if found else None
