"""The table of an exchange with a job. ``test_http.py`` has every state with every input."""

from __future__ import annotations

from pagent.splice.exchange_state import EXCHANGE_TRANSITIONS, ExchangeInput, ExchangeState


def test_the_table_has_every_state_and_every_input() -> None:
    assert set(EXCHANGE_TRANSITIONS) == set(ExchangeState)
    assert {change for row in EXCHANGE_TRANSITIONS.values() for change in row} == set(ExchangeInput)
    assert all(
        ExchangeInput.END in row for state, row in EXCHANGE_TRANSITIONS.items() if state is not ExchangeState.ENDED
    )
    assert set(EXCHANGE_TRANSITIONS[ExchangeState.ENDED].values()) == {ExchangeState.ENDED}


def test_every_state_is_reached_from_the_first_one() -> None:
    reached = {ExchangeState.DECIDING}
    while more := {after for state in reached for after in EXCHANGE_TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(ExchangeState)


def test_an_answer_is_never_taken_back() -> None:
    """Once the caller has the head, no input leads to a state in which the request may be sent again."""
    reached = {ExchangeState.BODY, ExchangeState.SWITCHED}
    while more := {after for state in reached for after in EXCHANGE_TRANSITIONS[state].values()} - reached:
        reached |= more
    again = {ExchangeState.DECIDING, ExchangeState.CONNECTING, ExchangeState.KEPT, ExchangeState.NEW}
    assert not reached & again


def test_only_a_kept_connection_is_replaced_by_a_new_one() -> None:
    """The job may have worked on a request that a new connection has carried."""
    connecting = [state for state, row in EXCHANGE_TRANSITIONS.items() if ExchangeInput.CONNECT in row]
    assert connecting == [ExchangeState.DECIDING, ExchangeState.KEPT]
