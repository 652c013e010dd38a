"""The two ends of a call: each ends once, in one of its ways, and says so to its owner."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from pagent.errors import (
    CallCancelledError,
    CallError,
    LinkClosedError,
    MethodError,
    MethodNotFoundError,
    ServerError,
)
from pagent.limits import ERROR_TEXT_MAX, MESSAGE_MAX_FOREIGN
from pagent.rpc import methods
from pagent.rpc.calls import IncomingCall, OutgoingCall
from pagent.wire import messages
from tests.kit.ends import RecordingReceiver
from tests.kit.joined import Joined

SECRET = "/root/secret/file"


class Service:
    """A method whose calls the test ends, and notes of their ends."""

    def __init__(self) -> None:
        self.calls: list[IncomingCall] = []
        self.ends: list[int] = []
        self.stopped = asyncio.Event()

    @methods.bistream
    def held(self, call: IncomingCall, *args: Any, **kwargs: Any) -> None:
        call.on_end = lambda: self.ends.append(call.call_id)
        self.calls.append(call)

    @methods.bistream
    async def works(self, call: IncomingCall) -> None:
        self.calls.append(call)
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


@pytest.fixture
async def service() -> Service:
    return Service()


async def call_of(
    joined: Joined, service: Service, *args: Any, method: str = "held", **kwargs: Any
) -> tuple[OutgoingCall, IncomingCall]:
    """Return both ends of a new call."""
    ours = joined.dialled.start_call(messages.BISTREAM, method, list(args), kwargs)
    await joined.settle()
    return ours, service.calls[-1]


async def error_of(joined: Joined, ours: OutgoingCall) -> Exception | None:
    await joined.settle()
    assert ours.is_done
    return ours.error


# --- the call of a peer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        lambda call: call.finish(7),
        lambda call: call.fail(ValueError("a fault")),
        lambda call: call.abort(ValueError("a fault")),
        lambda call: call.fail_server("a fault"),
        lambda call: call.relay_failure(ServerError("a fault")),
        lambda call: call.finish(object()),
        lambda call: call.finish(bytes(1 << 24)),
    ],
    ids=["finish", "fail", "abort", "fail_server", "relay_failure", "unsendable", "too long"],
)
async def test_a_call_ends_once(joined: Joined, service: Service, end: Callable[[IncomingCall], None]) -> None:
    ours, theirs = await call_of(joined, service)
    end(theirs)
    assert theirs.ended
    assert service.ends == [theirs.call_id]
    await joined.settle()
    assert ours.is_done
    outcome = (ours.error, ours.result.exception() or ours.result.result())
    for again in (theirs.finish, lambda: theirs.fail(KeyError("late")), lambda: theirs.fail_server("late")):
        again()
    theirs.cancelled("late")
    await joined.settle()
    assert (ours.error, ours.result.exception() or ours.result.result()) == outcome
    assert service.ends == [theirs.call_id] * len(service.ends)
    assert joined.accepted.incoming == {}


@pytest.mark.parametrize("way", ["cancel", "link"])
async def test_the_end_of_a_call_by_its_caller_stops_the_method(joined: Joined, service: Service, way: str) -> None:
    ours, theirs = await call_of(joined, service, method="works")
    receiver = RecordingReceiver()
    assert theirs.stream is not None
    theirs.stream.attach(receiver)
    if way == "cancel":
        ours.cancel(CallCancelledError("no need"))
    else:
        joined.transports[0].abort()
    await joined.settle()
    await asyncio.wait_for(service.stopped.wait(), 30)
    assert receiver.events[-1:] == ["lost"]
    assert theirs.ended
    assert theirs.stream is None
    assert joined.accepted.incoming == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MethodError("call 1 ('m') failed: text", "KeyError", "text"), MethodError),
        (MethodError("no cause", None, None), MethodError),
        (MethodNotFoundError("no method m"), MethodNotFoundError),
        (ServerError("does not work"), ServerError),
    ],
)
async def test_a_failure_that_is_relayed_stays_the_same(
    joined: Joined, service: Service, error: Exception, kind: type[Exception]
) -> None:
    ours, theirs = await call_of(joined, service)
    theirs.relay_failure(error)
    found = await error_of(joined, ours)
    assert type(found) is kind
    assert str(found) == str(error)
    if isinstance(error, MethodError):
        assert isinstance(found, MethodError)
        assert (found.cause_type, found.cause_message) == (error.cause_type, error.cause_message)


async def test_a_relayed_call_whose_link_is_lost_ends_with_an_error_of_the_method(
    joined: Joined, service: Service
) -> None:
    ours, theirs = await call_of(joined, service)
    theirs.relay_failure(LinkClosedError(1006, "the agent is gone"))
    found = await error_of(joined, ours)
    assert isinstance(found, MethodError)
    assert found.cause_type == "LinkClosedError"


@pytest.mark.parametrize("place", range(3))
async def test_no_text_of_a_relayed_failure_is_too_long_for_the_caller(
    joined: Joined, service: Service, place: int
) -> None:
    """An agent may send an error of 16 MiB, and a client of the field closes its link at 4 MiB."""
    texts = ["message", "type", "cause"]
    texts[place] = "x" * (MESSAGE_MAX_FOREIGN + 1)
    ours, theirs = await call_of(joined, service)
    theirs.relay_failure(MethodError(*texts))
    found = await error_of(joined, ours)
    assert isinstance(found, MethodError)
    assert [str(found), found.cause_type, found.cause_message] == [text[:ERROR_TEXT_MAX] for text in texts]
    assert joined.dialled.is_open


async def test_an_error_names_only_paths_that_its_caller_gave(joined: Joined, service: Service) -> None:
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), SECRET)
    ours, theirs = await call_of(joined, service, path=SECRET)
    assert theirs.arguments == ((), {"path": SECRET})
    theirs.fail(error)
    assert SECRET in str(await error_of(joined, ours))
    ours, theirs = await call_of(joined, service, SECRET)
    theirs.drop_arguments()
    assert theirs.arguments == ((), {})
    theirs.fail(error)
    found = await error_of(joined, ours)
    assert isinstance(found, MethodError)
    assert found.cause_message == f"[Errno {errno.ENOENT}] {os.strerror(errno.ENOENT)}"


async def test_only_faults_of_ours_are_logged(
    joined: Joined, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for error, is_fault in ((ValueError("x"), False), (OSError("x"), False), (ZeroDivisionError("x"), True)):
        caplog.clear()
        ours, theirs = await call_of(joined, service)
        theirs.fail(error)
        found = await error_of(joined, ours)
        assert isinstance(found, MethodError)
        assert (found.cause_type, "Traceback" in str(found)) == (type(error).__name__, False)
        assert ("method held failed" in caplog.text) is is_fault


@pytest.mark.parametrize("value", [object(), 2**70, {1, 2}])
async def test_a_result_that_cannot_be_sent_is_an_error(joined: Joined, service: Service, value: Any) -> None:
    ours, theirs = await call_of(joined, service)
    theirs.finish(value)
    found = await error_of(joined, ours)
    assert isinstance(found, ServerError)
    assert str(found) == "the method's result cannot be sent"


async def test_a_result_that_is_nested_too_deep_is_an_error(joined: Joined, service: Service) -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    ours, theirs = await call_of(joined, service)
    theirs.finish(value)
    assert isinstance(await error_of(joined, ours), ServerError)


# --- a call of ours -----------------------------------------------------------------------------------


async def test_the_result_may_be_asked_for_at_any_time(joined: Joined, service: Service) -> None:
    before, theirs = await call_of(joined, service)
    waiting = before.result
    assert before.result is waiting
    theirs.finish([1, "a"])
    await joined.settle()
    assert await waiting == [1, "a"]
    after, theirs = await call_of(joined, service)
    theirs.finish([1, "a"])
    await joined.settle()
    assert (after.is_done, after.error) == (True, None)
    assert await after.result == [1, "a"]


async def test_a_caller_that_has_stopped_waiting(joined: Joined, service: Service) -> None:
    ours, theirs = await call_of(joined, service)
    ours.result.cancel()
    theirs.finish(1)
    await joined.settle()
    assert (ours.is_done, ours.error) == (True, None)


async def test_a_call_that_is_given_up_takes_no_result(joined: Joined, service: Service) -> None:
    ours, theirs = await call_of(joined, service)
    receiver = RecordingReceiver()
    assert ours.stream is not None
    ours.stream.attach(receiver)
    error = CallCancelledError("no need")
    ours.cancel(error)
    theirs.finish("late")  # both are on their way at once
    ours.cancel(CallCancelledError("again"))
    await joined.settle()
    assert ours.error is error
    with pytest.raises(CallCancelledError, match="no need"):
        await ours.result
    assert receiver.events[-1:] == ["lost"]
    assert joined.dialled.outgoing == {}
    assert joined.dialled.is_open


async def test_an_end_after_the_result_changes_nothing(joined: Joined, service: Service) -> None:
    ours, theirs = await call_of(joined, service)
    theirs.finish(1)
    await joined.settle()
    ours.cancel(CallError("late"))
    ours.ended(LinkClosedError(1006, "late"))
    assert ours.error is None
    assert await ours.result == 1
