"""Ask the other routers of an agent whether the client of a job has a link to one of them.

Routers do not know each other. They meet at the agent: the question is a note of the job, which the agent sends to all
of them, and so is the answer. Each router has its own pair of notes, so that two questions do not conflict.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final

from pagent.errors import JOB_CALL_ERRORS, MethodNotFoundError
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory

_log = logging.getLogger(__name__)

#: Seconds that an answer may take: two notes over links that work.
ANSWER_S: Final = 3.0

#: The prefix of the notes' names. The rest of a name is the uid of the router that asks.
_QUESTION: Final = "pagent/asks-"
_ANSWER: Final = "pagent/answers-"
#: Seconds that the notes are kept.
_TTL_S: Final = 30.0


class Elsewhere:
    """Asks, and answers the questions of other routers.

    :param has_client: returns whether the client of a job has a link to this router.
    """

    def __init__(self, directory: AgentDirectory, has_client: Callable[[str], bool]) -> None:
        # For life.
        self._directory = directory
        self._has_client = has_client
        self._name = secrets.token_hex(8)
        # While running.
        self._asked: dict[bytes, asyncio.Future[None]] = {}  # by the value of the question
        directory.changes.subscribe(self._changed)

    async def has_client(self, job_uid: str) -> bool:
        """Return whether another router answers in time that it has the client. CallError, LinkClosedError.

        RequestRefusedError: the agent is away. False for an agent that keeps no notes.
        """
        question = secrets.token_bytes(8)
        answered = self._asked[question] = asyncio.get_running_loop().create_future()
        try:
            await self._directory.note(job_uid, _QUESTION + self._name, question, ttl=_TTL_S)
            await asyncio.wait((answered,), timeout=ANSWER_S)
            return answered.done()
        except MethodNotFoundError:
            return False
        finally:
            del self._asked[question]

    def _changed(self, change: Change) -> None:
        if change.kind is not ChangeKind.JOB_NOTE or change.job is None or change.note is None:
            return
        value = change.job.notes.get(change.note)
        if value is None:
            return
        if change.note == _ANSWER + self._name:
            if (answered := self._asked.get(value)) is not None and not answered.done():
                answered.set_result(None)
        elif change.note.startswith(_QUESTION) and self._has_client(change.job.uid):
            answer = _ANSWER + change.note.removeprefix(_QUESTION)
            self._directory.tasks.start(self._answer(change.job.uid, answer, value), name="answer another router")

    async def _answer(self, job_uid: str, name: str, question: bytes) -> None:
        try:
            await self._directory.note(job_uid, name, question, ttl=_TTL_S)
        except JOB_CALL_ERRORS as error:
            _log.info("another router does not learn that the client of job %s is here: %s", job_uid, error)
