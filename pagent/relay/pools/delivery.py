"""Create the job of a request at its agent, and start it."""

from __future__ import annotations

from pagent.errors import MethodError
from pagent.job_states import NEW
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.rpc.pool_job import PoolJob
from pagent.wire import messages


async def deliver(directory: AgentDirectory, agent: ConnectedAgent, job: PoolJob) -> None:
    """Create a job with its files, and start it. It may be repeated, also by another router.

    CallError, LinkClosedError. A job that cannot be started is removed.
    """
    info = await directory.create(
        agent, job.name, uid=job.uid, labels=job.labels, linger=job.linger, idle_after=job.idle_after
    )
    if info["state"] != NEW:
        return
    try:
        for path, content, executable in job.files:
            await _upload(agent, job.uid, path, content, executable)
        if job.start is not None:
            with directory.starting(job.uid):
                directory.noted(agent, await agent.call("job_start", job.uid, **job.start))
    except MethodError as error:
        if error.cause_type == "JobInvalidStateError":
            return  # another router has started it
        await directory.remove(job.uid)
        raise


async def _upload(agent: ConnectedAgent, job_uid: str, path: str, content: bytes, executable: bool) -> None:
    async with agent.open_stream(messages.OSTREAM, "file_upload", job_uid, path, executable) as stream:
        await stream.send(content)
        stream.close()
        await stream.result()
