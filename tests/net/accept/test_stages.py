"""Every stage of an unauthenticated connection with every input."""

from __future__ import annotations

import pytest

from pagent.net.accept.stages import STAGE_TRANSITIONS, Stage, StageInput


def reachable(start: Stage) -> set[Stage]:
    found = {start}
    waiting = [start]
    while waiting:
        for stage in STAGE_TRANSITIONS[waiting.pop()].values():
            if stage not in found:
                found.add(stage)
                waiting.append(stage)
    return found


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_is_reached_from_the_first_and_leads_to_the_last(stage: Stage) -> None:
    assert stage in reachable(Stage.SILENT)
    assert Stage.GONE in reachable(stage)
    assert STAGE_TRANSITIONS[stage][StageInput.LEAVE] is Stage.GONE


@pytest.mark.parametrize("event", StageInput)
def test_a_place_that_is_given_back_takes_every_input(event: StageInput) -> None:
    assert STAGE_TRANSITIONS[Stage.GONE][event] is Stage.GONE


@pytest.mark.parametrize("event", [each for each in StageInput if each is not StageInput.LEAVE])
def test_the_last_answer_is_the_last(event: StageInput) -> None:
    assert STAGE_TRANSITIONS[Stage.ENDING].get(event, Stage.ENDING) is Stage.ENDING


def test_no_stage_goes_back_to_a_socket_without_a_protocol() -> None:
    early = {Stage.SILENT, Stage.PARTIAL}
    for stage in set(Stage) - early:
        assert not early & set(STAGE_TRANSITIONS[stage].values())
