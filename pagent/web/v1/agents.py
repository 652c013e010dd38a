"""Agents: ``GET /v1/agents`` and ``/v1/agents/<uid>``, ``PATCH`` of one."""

from __future__ import annotations

from itertools import groupby

from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.web.admission import note_agent
from pagent.web.answers import json_answer
from pagent.web.routes import RoutedAgent, Routes
from pagent.web.v1.pages import age_of, cursor_of, page_limit
from pagent.web.v1.payloads import CORDON
from pagent.web.v1.shapes import read_json
from pagent.web.v1.views import agent_view


class AgentRoutes:
    """Agents are visible to every caller that may read."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def listing(self, request: web.Request) -> web.Response:
        limit, after = page_limit(request), age_of(request.query.get("after"))
        links = sorted(self._routes.agents(), key=lambda link: link.uid)
        agents = [[*group] for uid, group in groupby(links, key=lambda link: link.uid) if not after or uid > after[1]]
        page = agents[:limit]
        following = cursor_of((0.0, page[-1][0].uid)) if len(agents) > limit else None
        return json_answer({"agents": [self._view(links) for links in page], "next": following})

    async def show(self, request: web.Request) -> web.Response:
        return json_answer(self._view(self._links(request)))

    async def change(self, request: web.Request) -> web.Response:
        """Cordon an agent, or let it take jobs again."""
        cordoned: bool = (await read_json(request, CORDON))["cordoned"]
        newest = self._links(request)[-1]
        note_agent(request, newest)
        shared = await self._routes.cordon(newest.uid, cordoned)
        view = self._view(self._links(request))
        return json_answer({**view, "cordoned": cordoned, "shared": shared})

    def _links(self, request: web.Request) -> list[RoutedAgent]:
        uid = request.match_info["agent"]
        links = [link for link in self._routes.agents() if link.uid == uid]
        if not links:
            raise RequestRefusedError(404, f"no connected agent with uid {uid!r}")
        return links

    def _view(self, links: list[RoutedAgent]) -> dict[str, object]:
        return agent_view(links, self._routes.job_count(links[-1].uid))
