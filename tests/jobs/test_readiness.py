from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from pagent.errors import ProcessExitedError, ProcessStartTimeoutError
from pagent.jobs.manager import JobManager
from pagent.jobs.model import State
from pagent.jobs.ports import ReportError
from tests.jobs.conftest import PYTHON, line_of, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

LISTEN = "import signal, socket; s = socket.create_server(('127.0.0.1', {port})); signal.pause()"


async def test_an_end_before_the_port_is_reported(manager: JobManager) -> None:
    job = manager.create(owner())
    with pytest.raises(ProcessExitedError, match="exited with code 4 before it reported its port"):
        await manager.start(job, ["sh", "-c", "exit 4"], None)
    assert (job.state, job.exit_code) == (State.FINISHED, 4)


async def test_no_report_in_time(manager: JobManager) -> None:
    job = manager.create(owner())
    with pytest.raises(ProcessStartTimeoutError, match=r"its ports were not reported within 0\.2 s"):
        await manager.start(job, ["sleep", "1000"], None, ready_timeout=0.2)
    assert (job.state, job.signal) == (State.FINISHED, "SIGKILL")


async def test_ready_when_its_port_is_listened_on(manager: JobManager) -> None:
    job = manager.create(owner())
    await manager.start(job, [PYTHON, "-c", LISTEN], None, port="auto", ready="connect")
    assert job.state is State.RUNNING
    assert job.ports == (job.port,)
    assert job.port is not None
    socket.create_connection(("127.0.0.1", job.port)).close()


async def test_reports_of_ports(manager: JobManager) -> None:
    job = manager.create(owner())
    script = "echo $DA__PAGENT__JOB_ID > id.tmp; mv id.tmp id; exec sleep 1000"
    starting = asyncio.ensure_future(manager.start(job, ["sh", "-c", script], None, None, 2))
    secret = await line_of(job, "id")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [str(each.getsockname()[1]) for each in (one, two)]
        await manager.report_port([("job_id", secret), ("port", ports[0])])
        with pytest.raises(ReportError, match="reported before"):
            await manager.report_port([("job_id", secret), ("port", ports[0])])
        assert job.state is State.PENDING
        await manager.report_port([("job_id", secret), ("port", ports[1])])
        await starting
        assert job.state is State.RUNNING
        with pytest.raises(ReportError, match="not expected"):
            await manager.report_port([("job_id", secret), ("port", ports[1])])
    assert job.ports == tuple(int(port) for port in ports)


async def test_an_end_before_the_port_accepts(manager: JobManager) -> None:
    job = manager.create(owner())
    with pytest.raises(ProcessExitedError, match="exited with code 4 before its port accepted a connection"):
        await manager.start(job, ["sh", "-c", "exit 4"], None, port="auto", ready="connect")
    assert (job.state, job.exit_code, job.ports) == (State.FINISHED, 4, ())


async def test_a_report_of_the_port_that_is_connected_to_is_not_needed_and_not_refused(manager: JobManager) -> None:
    job = manager.create(owner())
    script = f"import os; open('id', 'w').write(os.environ['DA__PAGENT__JOB_ID']); {LISTEN}"
    await manager.start(job, [PYTHON, "-c", script], None, port="auto", ready="connect")
    secret = await line_of(job, "id")
    await manager.report_port([("job_id", secret), ("port", str(job.port))])
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ReportError, match="not expected"):
        await manager.report_port([("job_id", secret), ("port", str(other.getsockname()[1]))])
    assert job.ports == (job.port,)
