"""What an agent may send as figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from pagent.relay.agent import AgentKey
from pagent.relay.live import LiveFigures
from pagent.router_limits import FIGURES_UNLISTED_MAX

KEY, OTHER = AgentKey("A", None), AgentKey("B", None)
ROW = [0.5, 1000, 1, 10, 20, 0.0]


@contextmanager
def figures_of(**owners: AgentKey) -> Iterator[tuple[LiveFigures, Any, Any]]:
    """The figures of a router that knows these jobs, the receiver of agent A, and its call."""
    directory, agent = MagicMock(), Mock(key=KEY, is_ours=True, retiring=False, is_open=True)
    directory.table.__iter__.side_effect = lambda: iter([agent])
    directory.jobs.agent_of.side_effect = owners.get
    directory.jobs.__len__.return_value = len(owners)
    figures = LiveFigures(directory)
    call = agent.start_call.return_value
    with figures.listening():
        yield figures, call.stream.attach.call_args.args[0], call
    assert call.cancel.called
    assert figures.rows == {}


def test_only_the_agent_of_a_job_is_believed() -> None:
    with figures_of(mine=KEY, others=OTHER) as (figures, feed, _):
        feed.stream_message({"mine": ROW, "others": ROW, "unknown": ROW})
        assert figures.rows.keys() == {"mine", "unknown"}
        assert figures.streams == 2


@pytest.mark.parametrize(
    "message",
    [
        *(None, 1, "x", [], {}, {1: ROW}, {b"mine": ROW}, {"m" * 65: ROW}),
        *({"mine": row} for row in (None, {}, [], ROW[:5], [*ROW, 1], tuple(ROW))),
        *({"mine": [value, *ROW[1:]]} for value in ("1", True, -1, float("nan"), float("inf"), 2**60, [], b"")),
    ],
)
def test_invalid_figures_are_ignored(message: Any) -> None:
    with figures_of(mine=KEY) as (figures, feed, _):
        feed.stream_message(message)
        assert figures.rows == {}


def test_rows_of_unknown_jobs_are_bounded() -> None:
    with figures_of(mine=KEY) as (figures, feed, _):
        feed.stream_message({f"{number}": ROW for number in range(FIGURES_UNLISTED_MAX * 2)})
        assert len(figures.rows) == FIGURES_UNLISTED_MAX + 1
        feed.stream_message({"mine": ROW})
        assert "mine" in figures.rows


def test_bytes_are_summed_over_all_jobs_and_never_fall() -> None:
    with figures_of(mine=KEY) as (figures, feed, _):
        for received, sent in ((10, 20), (15, 40), (0, 0), (5, 1)):
            feed.stream_message({"mine": [*ROW[:3], received, sent, 0]})
        assert (figures.received, figures.sent) == (10, 21)


def test_the_time_without_use_grows_after_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with figures_of(mine=KEY) as (figures, feed, _):
        feed.stream_message({"mine": [0.0, 1000, 0, 10, 20, 5.0]})
        row = figures.rows["mine"]
        assert row._replace(at=row.at - 60).values[-1] == pytest.approx(65, abs=5)
        used = row._replace(at=row.at - 60, received=ROW)
        assert used.values[-1] == 0.0  # a stream is open
