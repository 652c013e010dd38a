"""Events and samples of a router for the clients of all its listeners."""

from __future__ import annotations

from typing import Any, Final

from pagent.web.answers import packed
from pagent.web.routes import KnownChange, Routes
from pagent.web.v1.event_log import EventLog
from pagent.web.v1.samples import Samples
from pagent.web.v1.views import agent_view

#: Changes of notes are the router's own affair.
_INTERNAL: Final = frozenset(("job.note",))


class EventFeed:
    """The events and the samples of a router: an id is good at each listener, and rates are those of one clock."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self.log: Final = EventLog()
        self.samples: Final = Samples(routes, self.log.wake_sampled)
        routes.subscribe(self._changed)

    def _changed(self, change: KnownChange) -> None:
        name = change.name
        if name in _INTERNAL:
            return
        if change.data is not None:
            self.log.add(name, change.job, packed(change.data))
        elif name.startswith("agent."):
            if (view := self._agent(change)) is not None:
                self.log.add(name, None, packed(view))
        else:
            self.log.add(name, change.job)

    def _agent(self, change: KnownChange) -> dict[str, Any] | None:
        """Return an agent, as it was last if it has no link."""
        links = [link for link in self._routes.agents() if link.uid == change.agent_uid]
        known = links or ([change.link] if change.link is not None else [])
        if not known:
            return None
        view = agent_view(known, self._routes.job_count(change.agent_uid))
        return view if links else {**view, "links": []}
