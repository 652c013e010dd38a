"""One HTTP exchange, with the stream, the call and the job's connections in memory: every state with every input."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pagent.http1.fields import Framing
from pagent.http1.heads import ResponseHead
from pagent.http1.request import encode_raw_request, encode_request
from pagent.splice.answer import Caller
from pagent.splice.exchange_state import EXCHANGE_TRANSITIONS, ExchangeInput, ExchangeState
from pagent.splice.http import BrokenResponseError, HttpSplice
from pagent.splice.pool import Pool
from tests.kit.ends import HeldTimers, MemoryDestination, MemoryPort, MemoryStream, QuietUser, connected

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
CODED = gzip.compress(b"decoded")
CODED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(CODED)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\n"
AGENT_502 = 502


class MemoryCall:
    """The call of a splice: ``outcome`` lists its results and errors."""

    def __init__(self, stream: MemoryStream) -> None:
        self.outcome: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._stream = stream

    def run(self, work: Any, *, returns: bool = False) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def finish(self, value: Any = None) -> None:
        self._end(value)

    def fail(self, error: BaseException) -> None:
        self._end(error)

    def _end(self, outcome: Any) -> None:
        self.outcome.append(outcome)
        self._stream.receiver = None


class Exchange:
    """A splice and all that it uses."""

    def __init__(
        self,
        method: str = "GET",
        headers: tuple[tuple[str, str], ...] = (),
        *,
        caller: Caller = Caller.OURS,
        raw: bool = False,
        upgrade: bool = False,
        kept: bool = False,
        arrived: tuple[bytes, ...] = (),
    ) -> None:
        self.stream = MemoryStream()
        for value in arrived:
            self.stream.arrive(value)
        self.call = MemoryCall(self.stream)
        self.destination = MemoryDestination()
        self.pool = Pool(self.destination)
        self.kept: MemoryPort | None = None
        if kept:
            connection, self.kept = connected(QuietUser())
            self.pool.give(connection)
        if raw:
            request = encode_raw_request(method, "/", headers, authority="a", upgrade=upgrade)
        else:
            request = encode_request(method, "/", (), headers, authority="a", identity=True)
        self.splice = HttpSplice(self.call, self.stream, self.pool, request, Caller.RAW if raw else caller)
        self.splice.start()

    @property
    def state(self) -> ExchangeState:
        return self.splice.state

    @property
    def port(self) -> MemoryPort:
        """The newest connection, or the kept one."""
        port = self.destination.made[-1] if self.destination.made else self.kept
        assert port is not None
        return port

    def job_sends(self, data: bytes) -> None:
        self.port.connection.data_received(data)

    async def end_body(self) -> None:
        self.stream.arrive(b"")
        await asyncio.sleep(0)  # lets the connecting begin

    async def connect(self) -> None:
        await self.end_body()
        await self.destination.accept()

    def close(self) -> None:
        for task in self.call.tasks:
            task.cancel()
        self.pool.close()


# --- each state -------------------------------------------------------------------------------------


async def deciding() -> Exchange:
    return Exchange()


async def connecting() -> Exchange:
    exchange = Exchange()
    await exchange.end_body()
    return exchange


async def kept() -> Exchange:
    exchange = Exchange(kept=True)
    await exchange.end_body()
    return exchange


async def new() -> Exchange:
    exchange = Exchange()
    await exchange.connect()
    return exchange


async def answering() -> Exchange:
    exchange = await new()
    exchange.job_sends(HEAD[:20])
    return exchange


async def body() -> Exchange:
    exchange = await new()
    exchange.job_sends(HEAD + b"he")
    return exchange


async def decoding() -> Exchange:
    exchange = await new()
    exchange.job_sends(CODED_HEAD)
    exchange.stream.block()
    exchange.job_sends(CODED)
    return exchange


async def parting() -> Exchange:
    exchange = Exchange("HEAD", (("Accept-Encoding", "gzip"),), caller=Caller.FIELD)
    await exchange.connect()
    exchange.job_sends(HEAD)
    return exchange


async def switched() -> Exchange:
    exchange = Exchange(headers=(("Upgrade", "mine"),), raw=True, upgrade=True)
    await asyncio.sleep(0)
    await exchange.destination.accept()
    exchange.job_sends(SWITCH)
    return exchange


async def ended() -> Exchange:
    exchange = await new()
    exchange.splice.stream_lost("cancelled")
    return exchange


#: A new connection's exchange is over before the splice knows of the connection.
async def ended_while_connecting() -> Exchange:
    exchange = await connecting()
    exchange.job_sends(b"no HTTP")
    return exchange


REACH: dict[ExchangeState, Callable[[], Awaitable[Exchange]]] = {
    ExchangeState.DECIDING: deciding,
    ExchangeState.CONNECTING: connecting,
    ExchangeState.KEPT: kept,
    ExchangeState.NEW: new,
    ExchangeState.ANSWERING: answering,
    ExchangeState.BODY: body,
    ExchangeState.DECODING: decoding,
    ExchangeState.PARTING: parting,
    ExchangeState.SWITCHED: switched,
    ExchangeState.ENDED: ended,
}


@pytest.mark.parametrize("state", ExchangeState)
async def test_each_state_is_reached(state: ExchangeState) -> None:
    exchange = await REACH[state]()
    assert exchange.state is state
    exchange.close()


# --- each input ---------------------------------------------------------------------------------------


async def the_body_goes_on(exchange: Exchange) -> None:
    exchange.splice.stream_message(b"more")


async def the_body_ends(exchange: Exchange) -> None:
    exchange.splice.stream_message(b"")


async def the_stream_closes(exchange: Exchange) -> None:
    exchange.splice.stream_closed()


async def the_body_is_no_bin(exchange: Exchange) -> None:
    exchange.splice.stream_message("text")


async def the_stream_blocks(exchange: Exchange) -> None:
    exchange.stream.blocked = True
    exchange.splice.stream_blocked()


async def the_stream_is_writable(exchange: Exchange) -> None:
    exchange.stream.blocked = False
    exchange.splice.stream_writable()


async def the_call_is_gone(exchange: Exchange) -> None:
    exchange.splice.stream_lost("cancelled")


async def the_job_sends_a_response(exchange: Exchange) -> None:
    exchange.splice.port_data(HEAD + b"hello")


async def the_job_sends_garbage(exchange: Exchange) -> None:
    exchange.splice.port_data(b"\0 garbage")


async def the_job_ends_the_connection(exchange: Exchange) -> None:
    exchange.splice.port_eof()


async def the_connection_is_lost(exchange: Exchange) -> None:
    exchange.splice.port_lost(ConnectionResetError("reset"))


async def the_connection_is_closed(exchange: Exchange) -> None:
    exchange.splice.port_lost(None)


async def the_port_blocks(exchange: Exchange) -> None:
    exchange.splice.port_blocked()


async def the_port_is_writable(exchange: Exchange) -> None:
    exchange.splice.port_writable()


OURS = [
    the_body_goes_on,
    the_body_ends,
    the_stream_closes,
    the_body_is_no_bin,
    the_stream_blocks,
    the_stream_is_writable,
    the_call_is_gone,
    the_job_sends_a_response,
    the_job_sends_garbage,
    the_job_ends_the_connection,
    the_connection_is_lost,
    the_connection_is_closed,
    the_port_blocks,
    the_port_is_writable,
]

#: The state after an input, where it is another one, or the error that it raises.
D, C, K, N, A, B, X, P, E = (
    ExchangeState.DECIDING,
    ExchangeState.CONNECTING,
    ExchangeState.KEPT,
    ExchangeState.NEW,
    ExchangeState.ANSWERING,
    ExchangeState.BODY,
    ExchangeState.DECODING,
    ExchangeState.PARTING,
    ExchangeState.ENDED,
)
AFTER: dict[ExchangeState, dict[Any, ExchangeState | type[Exception]]] = {
    D: {
        the_body_goes_on: C,
        the_body_ends: C,
        the_stream_closes: C,
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
        # No connection can send or end anything yet.
        the_job_sends_a_response: RuntimeError,
        the_job_sends_garbage: RuntimeError,
        the_job_ends_the_connection: E,
        the_connection_is_lost: E,
        the_connection_is_closed: E,
    },
    C: {
        the_body_goes_on: ValueError,
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
        the_job_sends_a_response: E,
        the_job_sends_garbage: E,
        the_job_ends_the_connection: E,
        the_connection_is_lost: E,
        the_connection_is_closed: E,
    },
    K: {
        the_body_goes_on: ValueError,
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
        the_job_sends_a_response: E,
        the_job_sends_garbage: E,
        # The job had closed it while it was idle.
        the_job_ends_the_connection: C,
        the_connection_is_lost: C,
        the_connection_is_closed: C,
    },
    N: {
        the_body_goes_on: ValueError,
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
        the_job_sends_a_response: E,
        the_job_sends_garbage: E,
        the_job_ends_the_connection: E,
        the_connection_is_lost: E,
        the_connection_is_closed: E,
    },
    A: {
        the_body_goes_on: ValueError,
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
        the_job_sends_a_response: E,
        the_job_sends_garbage: E,
        the_job_ends_the_connection: E,
        the_connection_is_lost: E,
        the_connection_is_closed: E,
    },
    B: {
        the_body_goes_on: ValueError,
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
        the_job_sends_a_response: E,  # its bytes complete the body
        the_job_sends_garbage: E,  # and these as well
        the_job_ends_the_connection: E,
        the_connection_is_lost: E,
        the_connection_is_closed: E,
    },
    X: {
        the_body_is_no_bin: ValueError,
        the_stream_is_writable: E,
        the_call_is_gone: E,
        the_connection_is_lost: E,
    },
    P: {
        the_body_is_no_bin: ValueError,
        the_call_is_gone: E,
    },
    E: {the_body_is_no_bin: ValueError, the_call_is_gone: RuntimeError},
}


@pytest.mark.parametrize("given", OURS, ids=lambda given: given.__name__)
@pytest.mark.parametrize("state", AFTER)
async def test_every_state_with_every_input(state: ExchangeState, given: Callable[[Exchange], Awaitable[None]]) -> None:
    exchange = await REACH[state]()
    after = AFTER[state].get(given, state)
    if isinstance(after, ExchangeState):
        await given(exchange)
        assert exchange.state is after
        assert bool(exchange.call.outcome) == (after is E is not state and given is not the_call_is_gone)
    else:
        with pytest.raises(after):
            await given(exchange)
        assert exchange.state is state
    exchange.close()


@pytest.mark.parametrize(
    "state", [state for state, row in EXCHANGE_TRANSITIONS.items() if ExchangeInput.HEAD not in row]
)
async def test_an_input_that_the_table_lacks_is_an_error(state: ExchangeState) -> None:
    exchange = await REACH[state]()
    head = ResponseHead(200, b"", Framing.NONE, None, True, None, False)
    with pytest.raises(RuntimeError, match=f"input HEAD in state {state.name}"):
        exchange.splice.head(head)
    assert exchange.state is state
    exchange.close()


# --- ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [connecting, kept, new, answering])
@pytest.mark.parametrize("given", [the_job_sends_garbage, the_connection_is_lost, the_job_ends_the_connection])
async def test_without_a_head_the_caller_gets_a_502(
    reach: Callable[[], Awaitable[Exchange]], given: Callable[[Exchange], Awaitable[None]]
) -> None:
    exchange = await reach()
    await given(exchange)
    if exchange.state is ExchangeState.CONNECTING:  # the request of a kept connection is repeated once
        assert exchange.stream.sent == []
        await asyncio.sleep(0)
        await exchange.destination.accept()
        await given(exchange)
    status, fields, text = exchange.stream.sent
    assert status == AGENT_502
    assert ["Content-Type", "text/plain; charset=utf-8"] in fields
    assert text.startswith(b"502 Bad Gateway: ")
    assert exchange.call.outcome == [None]
    exchange.close()


@pytest.mark.parametrize("reach", [body, decoding])
async def test_after_the_head_a_break_is_a_message_that_is_no_bin_and_an_error(
    reach: Callable[[], Awaitable[Exchange]],
) -> None:
    exchange = await reach()
    await the_connection_is_lost(exchange)
    assert exchange.stream.sent[-1] is False
    assert isinstance(exchange.call.outcome[0], BrokenResponseError)
    assert exchange.port.aborted or reach is decoding
    exchange.close()


async def test_a_refused_connection_is_a_502() -> None:
    exchange = await connecting()
    await exchange.destination.refuse()
    assert exchange.stream.sent[0] == AGENT_502
    assert exchange.state is ExchangeState.ENDED


async def test_an_old_router_gets_a_502_without_fields_and_body() -> None:
    exchange = Exchange(caller=Caller.FIELD)
    await exchange.end_body()
    await exchange.destination.refuse()
    assert exchange.stream.sent == [AGENT_502, []]


@pytest.mark.parametrize("reach", [connecting, new, answering, body, decoding])
async def test_a_call_that_is_gone_drops_its_connection(reach: Callable[[], Awaitable[Exchange]]) -> None:
    exchange = await reach()
    exchange.splice.stream_lost("cancelled")
    if reach is connecting:
        await exchange.destination.accept()
    assert exchange.port.is_closing() or reach is decoding  # whose connection is idle again
    assert exchange.call.outcome == []
    exchange.close()


async def test_a_connection_is_idle_again_after_a_complete_exchange() -> None:
    exchange = await body()
    exchange.job_sends(b"llo")
    assert exchange.stream.sent == [200, [["Content-Length", "5"]], b"he", b"llo"]
    assert exchange.call.outcome == [None]
    assert len(exchange.pool) == 1
    exchange.close()


async def test_an_early_answer_drops_the_connection() -> None:
    """The job would take the rest of the body for the next request."""
    exchange = Exchange("POST", (("Content-Length", "10"),))
    await asyncio.sleep(0)
    await exchange.destination.accept()
    exchange.stream.arrive(b"half ")
    exchange.job_sends(HEAD + b"hello")
    assert exchange.state is ExchangeState.ENDED
    assert exchange.port.aborted
    assert len(exchange.pool) == 0


async def test_a_body_that_has_arrived_before_the_start_takes_one_connection() -> None:
    exchange = Exchange(arrived=(b"",))
    await asyncio.sleep(0)
    await exchange.destination.accept()
    exchange.job_sends(HEAD + b"hello")
    assert len(exchange.destination.made) == 1
    assert exchange.port.written.count(b"GET / HTTP/1.1") == 1
    exchange.close()


# --- a job that sends before the agent knows of the connection ----------------------------------------


async def test_a_response_before_the_request_is_passed_on_and_its_connection_dropped() -> None:
    exchange = await connecting()
    exchange.job_sends(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert (exchange.state, exchange.stream.sent[0]) == (ExchangeState.ENDED, 503)
    await exchange.destination.accept()
    assert exchange.port.aborted
    assert exchange.port.written == b""


async def test_half_a_response_before_the_request_is_continued_after_it() -> None:
    exchange = await connecting()
    exchange.job_sends(HEAD + b"he")
    assert exchange.state is ExchangeState.BODY
    await exchange.destination.accept()
    assert exchange.port.written.startswith(b"GET / HTTP/1.1\r\n")
    exchange.job_sends(b"llo")
    assert (exchange.state, exchange.call.outcome) == (ExchangeState.ENDED, [None])
    exchange.close()


async def test_a_switch_before_the_request_is_a_502() -> None:
    exchange = Exchange(headers=(("Upgrade", "mine"),), raw=True, upgrade=True)
    await asyncio.sleep(0)
    exchange.job_sends(SWITCH)
    assert exchange.stream.sent[0] == AGENT_502
    await exchange.destination.accept()
    assert exchange.port.aborted


# --- back pressure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [kept, new, answering, body])
async def test_a_blocked_stream_pauses_the_port(reach: Callable[[], Awaitable[Exchange]]) -> None:
    exchange = await reach()
    exchange.stream.block()
    assert not exchange.port.reading
    exchange.stream.unblock()
    assert exchange.port.reading
    exchange.close()


async def test_a_stream_that_blocks_while_connecting_pauses_the_port() -> None:
    exchange = await connecting()
    exchange.stream.block()
    await exchange.destination.accept()
    assert not exchange.port.reading
    exchange.close()


async def test_a_blocked_port_holds_the_stream_and_its_connection_is_not_kept() -> None:
    exchange = Exchange("POST", (("Content-Length", "4"),))
    await asyncio.sleep(0)
    assert exchange.stream.held  # while connecting
    await exchange.destination.accept()
    assert not exchange.stream.held
    exchange.port.connection.pause_writing()
    assert exchange.stream.held
    exchange.port.connection.resume_writing()
    assert not exchange.stream.held
    exchange.stream.arrive(b"body")
    exchange.stream.arrive(b"")
    exchange.port.connection.pause_writing()
    exchange.job_sends(HEAD + b"hello")
    assert exchange.port.aborted
    exchange.close()


async def test_decoding_waits_for_the_stream() -> None:
    exchange = await decoding()
    assert exchange.stream.sent == [200, []]
    assert exchange.call.outcome == []
    exchange.stream.unblock()
    assert exchange.stream.sent == [200, [], b"decoded"]
    assert exchange.call.outcome == [None]
    exchange.close()


# --- old routers --------------------------------------------------------------------------------------


async def test_a_client_whose_connection_would_be_spoiled_closes_it_before_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The router would write a compressed body after the head; it writes nothing once its client has gone."""
    timers = HeldTimers(monkeypatch, HttpSplice, 1.0)
    exchange = await parting()
    assert exchange.stream.sent == [200, [["Content-Length", "5"], ["Connection", "close"]]]
    assert exchange.call.outcome == []
    exchange.splice.stream_lost("cancelled")
    assert timers.fire() == 0
    exchange.close()


async def test_a_client_that_stays_delays_the_result_only(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = HeldTimers(monkeypatch, HttpSplice, 1.0)
    exchange = await parting()
    assert timers.fire() == 1
    assert (exchange.state, exchange.call.outcome) == (ExchangeState.ENDED, [None])
    exchange.close()


@pytest.mark.parametrize(
    ("headers", "caller"),
    [((), Caller.FIELD), ((("Accept-Encoding", "br"),), Caller.FIELD), ((("Accept-Encoding", "gzip"),), Caller.OURS)],
)
async def test_other_clients_get_the_result_at_once(headers: tuple[tuple[str, str], ...], caller: Caller) -> None:
    exchange = Exchange("HEAD", headers, caller=caller)
    await exchange.connect()
    exchange.job_sends(HEAD)
    assert exchange.stream.sent == [200, [["Content-Length", "5"]]]
    assert exchange.call.outcome == [None]
    exchange.close()


async def test_a_body_needs_no_end_of_the_connection() -> None:
    exchange = Exchange("GET", (("Accept-Encoding", "gzip"),), caller=Caller.FIELD)
    await exchange.connect()
    exchange.job_sends(HEAD + b"hello")
    assert exchange.stream.sent == [200, [["Content-Length", "5"]], b"hello"]
    assert exchange.call.outcome == [None]
    exchange.close()


# --- upgrades -----------------------------------------------------------------------------------------


async def test_messages_after_the_request_wait_for_the_switch() -> None:
    exchange = Exchange(headers=(("Upgrade", "mine"),), raw=True, upgrade=True)
    await asyncio.sleep(0)
    await exchange.destination.accept()
    assert exchange.stream.held
    exchange.port.connection.pause_writing()
    exchange.port.connection.resume_writing()
    assert exchange.stream.held
    exchange.job_sends(SWITCH + b"first")
    assert not exchange.stream.held
    assert exchange.stream.sent == [101, [["Connection", "Upgrade"], ["Upgrade", "mine"]], b"first"]
    exchange.stream.arrive(b"bytes")
    assert exchange.port.written.endswith(b"\r\n\r\nbytes")


async def test_a_switch_to_a_job_that_does_not_read_holds_the_stream() -> None:
    exchange = Exchange(headers=(("Upgrade", "mine"),), raw=True, upgrade=True)
    await asyncio.sleep(0)
    await exchange.destination.accept()
    exchange.port.connection.pause_writing()
    exchange.job_sends(SWITCH)
    assert exchange.state is ExchangeState.SWITCHED
    assert exchange.stream.held


@pytest.mark.parametrize("clean", [True, False])
async def test_the_end_of_the_tunnel_is_the_end_of_the_call(clean: bool) -> None:
    exchange = await switched()
    if clean:
        exchange.port.connection.eof_received()
        exchange.stream.arrive(b"")
        assert exchange.call.outcome == [None]
    else:
        exchange.port.connection.user.port_lost(ConnectionResetError("reset"))
        assert isinstance(exchange.call.outcome[0], ConnectionResetError)
    assert exchange.state is ExchangeState.ENDED


async def test_an_answer_that_refuses_the_upgrade_is_a_response() -> None:
    exchange = Exchange(headers=(("Upgrade", "mine"),), raw=True, upgrade=True)
    await asyncio.sleep(0)
    await exchange.destination.accept()
    exchange.job_sends(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
    assert exchange.stream.sent == [426, [["Content-Length", "0"]]]
    assert exchange.port.closing
    assert len(exchange.pool) == 0


@pytest.mark.parametrize("whole", [True, False])
async def test_a_response_that_ends_with_its_connection_and_maybe_with_the_job(whole: bool) -> None:
    """The response waits for the verdict of the job's end."""
    exchange = await new()
    exchange.job_sends(b"HTTP/1.1 200 OK\r\n\r\npart")
    ending = exchange.destination.ending = asyncio.get_running_loop().create_future()
    exchange.port.connection.eof_received()
    assert exchange.call.outcome == []
    ending.set_result(whole)
    await asyncio.gather(*exchange.call.tasks)
    if whole:
        assert exchange.call.outcome == [None]
        assert exchange.stream.sent == [200, [], b"part"]
    else:
        assert isinstance(exchange.call.outcome[0], BrokenResponseError)
        assert exchange.stream.sent == [200, [], b"part", False]
    exchange.close()


async def test_the_caller_cancels_while_the_end_of_the_job_is_waited_for() -> None:
    exchange = await new()
    exchange.job_sends(b"HTTP/1.1 200 OK\r\n\r\npart")
    ending = exchange.destination.ending = asyncio.get_running_loop().create_future()
    exchange.port.connection.eof_received()
    exchange.splice.stream_lost("the caller has gone")
    ending.set_result(True)
    await asyncio.gather(*exchange.call.tasks)
    assert exchange.call.outcome == []
    exchange.close()
