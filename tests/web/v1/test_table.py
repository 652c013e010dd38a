"""The routes of /v1 and the file openapi.json have the same paths, methods and scopes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from pagent.access.operations import SCOPE_OF
from pagent.web.v1.event_feed import EventFeed
from pagent.web.v1.table import v1_routes
from tests.kit.directory import OpenGate
from tests.web.closed_gate import Untouched
from tests.web.v1.portal import document

OPERATIONS = [
    (path, method, operation) for path, methods in document()["paths"].items() for method, operation in methods.items()
]


def test_the_file_is_valid() -> None:
    validate(document())


def test_file_and_table_have_the_same_operations() -> None:
    table = {
        (re.sub(r":[^}]*}", "}", route.path), route.method.lower(), SCOPE_OF.get(route.operation))
        for route in v1_routes(Untouched(), OpenGate(), EventFeed(Untouched()))
    }
    assert {(path, method, operation.get("x-scope")) for path, method, operation in OPERATIONS} == table


def test_paths_are_sorted_and_operations_have_names_of_their_own() -> None:
    paths = list(document()["paths"])
    assert paths == sorted(paths)
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[f"{method} {path}" for path, method, _ in OPERATIONS]
)
def test_every_operation_has_all_parts(path: str, method: str, operation: dict[str, Any]) -> None:
    assert method in ("get", "head", "put", "post", "patch", "delete")
    assert operation["summary"]
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    assert bool(operation["security"]) is ("x-scope" in operation)
    shared = {f"#/components/parameters/{name}": each for name, each in document()["components"]["parameters"].items()}
    parameters = [shared[each["$ref"]] if "$ref" in each else each for each in operation.get("parameters", ())]
    named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", path))
