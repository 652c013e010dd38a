from __future__ import annotations

import pytest

from pagent.errors import JobInvalidStateError
from pagent.jobs.admission import Admission


def test_a_cordon_refuses_only_those_that_heed_it() -> None:
    admission = Admission()
    assert admission.cordon(True)
    assert not admission.cordon(True)
    admission.require_room(heeds_cordon=False)
    with pytest.raises(JobInvalidStateError, match="cordoned"):
        admission.require_room(heeds_cordon=True)
    admission.require_open()
    assert admission.cordon(False)
    admission.require_room(heeds_cordon=True)


def test_an_agent_that_ends_takes_nothing() -> None:
    admission = Admission()
    admission.end()
    assert admission.is_ending
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        admission.require_open()
    with pytest.raises(JobInvalidStateError, match="shutting down"):
        admission.require_room(heeds_cordon=False)
