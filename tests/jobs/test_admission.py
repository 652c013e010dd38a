from __future__ import annotations

import pytest

from pagent.errors import JobInvalidStateError
from pagent.jobs.admission import Admission


def test_a_cordon_refuses_only_those_that_heed_it() -> None:
    admission = Admission()
    assert admission.cordon(True)
    assert not admission.cordon(True)
    admission.require_room(0, heeds_cordon=False)
    with pytest.raises(JobInvalidStateError, match="cordoned"):
        admission.require_room(0, heeds_cordon=True)
    admission.require_open()
    assert admission.cordon(False)
    admission.require_room(0, heeds_cordon=True)


def test_an_agent_that_ends_takes_nothing() -> None:
    admission = Admission()
    admission.end()
    assert admission.is_ending
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        admission.require_open()
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        admission.require_room(0, heeds_cordon=False)


def test_a_most_of_jobs() -> None:
    admission = Admission(2)
    admission.require_room(1, heeds_cordon=True)
    with pytest.raises(JobInvalidStateError, match="2 jobs, as many as"):
        admission.require_room(2, heeds_cordon=False)
    Admission().require_room(1_000_000, heeds_cordon=True)
