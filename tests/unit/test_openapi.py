"""The OpenAPI document knows every route and nothing else, and has errors that its routes can really have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from fireside_engine import errors
from fireside_engine.models.catalogue import default_catalogue
from fireside_engine.server.app import create_app
from fireside_engine.server.engine import Engine
from fireside_engine.server.openapi import document, operation_of
from fireside_engine.server.openapi_answers import ANSWERS
from fireside_engine.server.openapi_routes import OPERATIONS
from fireside_engine.server.security import Access
from fireside_engine.server.settings import Settings


@pytest.fixture
def app() -> Starlette:
    return create_app(Engine(default_catalogue(), Settings()), Access(1, "token"), lambda: None)


@pytest.fixture
def made(app: Starlette) -> Any:
    return json.loads(json.dumps(document(app.routes)))


def test_every_route_is_described_and_every_description_has_a_route(app: Starlette, made: Any) -> None:
    there = {
        (method, route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert there == {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    used = {id(operation_of(method, path)) for method, path in there}
    assert {key for key, operation in OPERATIONS.items() if id(operation) not in used} == set()


def test_the_page_lists_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    rows = {f"| `{method} {path}` | {operation.summary} |" for (method, path), operation in OPERATIONS.items()}
    assert rows == set(re.findall(r"^\| `[A-Z]+ /.*$", page, re.MULTILINE))


def test_a_route_that_nobody_described_stops_it() -> None:
    async def endpoint(_request: object) -> None: ...

    with pytest.raises(KeyError, match="GET /v1/new"):
        document([Route("/v1/new", endpoint)])


def test_references_lead_somewhere_and_no_schema_is_left_over(made: Any) -> None:
    schemas = made["components"]["schemas"]
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(made)))
    assert referred == set(schemas)
    assert set(ANSWERS) <= referred


def test_ids_are_unique(made: Any) -> None:
    ids = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_errors_have_the_shape_of_the_dialect_and_the_codes_of_the_tree(made: Any) -> None:
    def shape(path: str, status: str) -> str:
        (operation,) = made["paths"][path].values()
        schema: str = operation["responses"][status]["content"]["application/json"]["schema"]["$ref"]
        return schema.rpartition("/")[2]

    assert shape("/v1/chat/completions", "400") == "Error"
    assert shape("/v1/messages", "429") == "AnthropicError"
    assert shape("/api/chat", "404") == "OllamaError"
    assert shape("/api/v0/models", "403") == "Error"
    described = made["paths"]["/v1/chat/completions"]["post"]["responses"]["400"]["description"]
    assert "context_exceeded" in described
    known = {kind.code for kind in _tree(errors.FiresideError)}
    for methods in made["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status != "200":
                    codes = response["description"].partition(": ")[2].rstrip(".").split(", ")
                    assert set(codes) <= known


def _tree(kind: type[errors.FiresideError]) -> list[type[errors.FiresideError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _tree(child))]


def test_keys_are_asked_for_where_they_are(made: Any) -> None:
    paths = made["paths"]
    assert "401" not in paths["/health"]["get"]["responses"]
    assert "401" in paths["/v1/models"]["get"]["responses"]
    assert paths["/fireside/status"]["get"]["security"] == [{"owner": []}]
    assert {path for path in paths if path.startswith("/fireside/")} == {
        path for path, methods in paths.items() if any("owner" in str(op.get("security")) for op in methods.values())
    } | {"/fireside/hello"}


def test_what_validators_take_besides_is_said(made: Any) -> None:
    """A schema made of the types alone would refuse what editors send: parts, one stop, durations, pairs, `name`."""
    schemas = made["components"]["schemas"]
    content = schemas["OpenAIChatMessage"]["properties"]["content"]["anyOf"]
    assert {kind["type"] for kind in content} == {"string", "array", "null"}
    stop = schemas["OpenAIChatBody"]["properties"]["stop"]["anyOf"]
    assert {kind["type"] for kind in stop} == {"string", "array", "null"}
    assert "string" in {kind["type"] for kind in schemas["OllamaChatBody"]["properties"]["keep_alive"]["anyOf"]}
    assert "name" in schemas["OllamaNameBody"]["properties"]
    assert "object" in {kind["type"] for kind in schemas["LlamaServerInfillBody"]["properties"]["logit_bias"]["anyOf"]}
