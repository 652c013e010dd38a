"""The file openapi.json: it is served, and it says which parameters each operation takes in a query."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.web.local import Handler
from pagent.web.route import Route

#: The file as it is served.
OPENAPI: Final = files(__package__).joinpath("openapi.json").read_bytes()

_NAMED: Final = "#/components/parameters/"


class Parameters(NamedTuple):
    """The parameters of a query: those that stand there once, those that may repeat, and patterns of further names."""

    single: frozenset[str]
    repeated: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]

    def check(self, names: Collection[str]) -> None:
        """RequestRefusedError 400 for a parameter that the operation does not take, or takes only once."""
        seen = set[str]()
        for name in names:
            if name in self.repeated:
                continue
            if name not in self.single and not any(pattern.search(name) for pattern in self.patterns):
                raise RequestRefusedError(400, f"unknown parameter {name[:_QUOTED_MAX]!r}")
            if name in seen:
                raise RequestRefusedError(400, f"the parameter {name[:_QUOTED_MAX]!r} stands twice in the query")
            seen.add(name)


#: Characters of a name that an error repeats.
_QUOTED_MAX: Final = 100


def checked_routes(routes: Collection[Route]) -> list[Route]:
    """Return the routes with handlers that refuse queries with parameters that the file does not name."""
    document: Mapping[str, Any] = orjson.loads(OPENAPI)
    return [route._replace(handler=_checked(route.handler, _of(route, document))) for route in routes]


def _checked(handler: Handler, parameters: Parameters) -> Handler:
    async def checked(request: web.Request) -> web.StreamResponse:
        parameters.check([name for name, _ in request.query.items()])
        return await handler(request)

    return checked


def _of(route: Route, document: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a route; none for an operation that is not in the file."""
    methods: Mapping[str, Any] = document["paths"].get(re.sub(r":[^}]*}", "}", route.path), {})
    operation = methods.get(route.method.lower(), {})
    named = document["components"]["parameters"]
    found = [
        named[each["$ref"].removeprefix(_NAMED)] if "$ref" in each else each for each in operation.get("parameters", ())
    ]
    query = [(each["name"], each["schema"]) for each in found if each["in"] == "query"]
    maps = [schema["patternProperties"] for _, schema in query if "patternProperties" in schema]
    return Parameters(
        frozenset(name for name, schema in query if schema.get("type") not in ("array", "object")),
        frozenset(name for name, schema in query if schema.get("type") == "array"),
        tuple(re.compile(pattern) for patterns in maps for pattern in patterns),
    )
