"""Parse the scopes of a token, and decide which jobs and agents they are good for (docs/access.rst, "Scopes")."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from pagent.access.operations import ADMIN, SCOPES
from pagent.rpc.directory import JobFacts

#: The label that the router gives to each job that is created in a closed router: the name of its subject.
OWNER: Final = "pagent/owner"
#: The prefix of the names of such labels. No caller may set them.
OWN_LABELS: Final = "pagent/"

_OWN: Final = "own"
_ANY: Final = "any"
_AGENT: Final = "agent"
_JOB: Final = "job"
_LABEL: Final = "label."

#: The ways in which a scope can be limited, for error texts.
FORMS: Final = "SCOPE, SCOPE!any, SCOPE!agent=UID, SCOPE!job=UID or SCOPE!label.NAME=VALUE"


class Grant(NamedTuple):
    """One scope of a token. ``kind``: of which jobs; ``value``: the uid, or the value of the label ``kind``."""

    scope: str
    kind: str
    value: str

    def covers(self, name: str, job: JobFacts) -> bool:
        """Return whether it is good for a job, presented by the subject ``name``."""
        if self.kind == _OWN:
            return job.labels.get(OWNER) == name
        if self.kind == _ANY:
            return True
        if self.kind == _AGENT:
            return job.agent_uid == self.value
        if self.kind == _JOB:
            return bool(job.uid) and job.uid == self.value
        return job.labels.get(self.kind.removeprefix(_LABEL)) == self.value

    @property
    def is_unlimited(self) -> bool:
        """Whether it is good for everything, whatever its labels."""
        return self.kind == _ANY or (self.kind == _OWN and self.scope == ADMIN)


def parse_scope(text: str) -> Grant:
    """Return the grant of a scope as it stands in the configuration. ValueError if it is none."""
    scope, limited, limit = text.partition("!")
    if scope not in SCOPES:
        raise ValueError(f"a scope is one of {', '.join(SCOPES)}")
    if not limited:
        return Grant(scope, _OWN, "")
    kind, equals, value = limit.partition("=")
    if limit == _ANY:
        return Grant(scope, _ANY, "")
    of_a_job = kind == _JOB or (kind.startswith(_LABEL) and kind != _LABEL)
    if not equals or not (value or kind.startswith(_LABEL)) or not (kind == _AGENT or of_a_job):
        raise ValueError(f"a scope is {FORMS}")
    if scope == ADMIN and of_a_job:
        raise ValueError("admin can be limited to an agent, not to a job")
    return Grant(scope, kind, value)


class Grants:
    """All scopes of one subject."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._by_scope: dict[str, list[Grant]] = {}
        for grant in grants:
            self._by_scope.setdefault(grant.scope, []).append(grant)

    def has(self, scope: str) -> bool:
        """Return whether the scope is there, for whatever jobs."""
        return scope in self._by_scope

    def is_unlimited(self, scope: str) -> bool:
        """Return whether the scope is good for everything: no facts of the job are needed."""
        return any(grant.is_unlimited for grant in self._by_scope.get(scope, ()))

    def covers(self, scope: str, name: str, job: JobFacts) -> bool:
        """Return whether the scope is good for a job."""
        return any(grant.covers(name, job) for grant in self._by_scope.get(scope, ()))

    def sees(self, name: str, job: JobFacts) -> bool:
        """Return whether any scope is good for a job, so that the subject may know of it."""
        return any(self.covers(scope, name, job) for scope in self._by_scope if scope != ADMIN)


@lru_cache(maxsize=1024)
def grants_of(scopes: tuple[str, ...]) -> Grants:
    """Return the scopes of a subject, parsed; they have been checked when the configuration was read."""
    return Grants(map(parse_scope, scopes))
