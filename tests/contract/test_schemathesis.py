"""The served OpenAPI document, and schemathesis over it: no defect, no status and no shape that it does not know.

`tests/bench/schema_fuzz.py` does the same for longer, with the coverage phase, and with real models too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks

from bench.schema_fuzz import LEFT_OUT, PLANNED, with_names
from fake_engine import Running, running, write_model

ALIASES = re.compile(r"/(chat/completions|completions|embeddings|responses|models)|/api/v0/(?!models)")
"""Where OpenAI's routes are a second and a third time."""
CHECKS = [
    getattr(checks, name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESIDE_HOME", str(home))
        patch.setenv("FIRESIDE_OTHER_STORES", "0")
        write_model("small")
        with running(home / "journal") as engine:
            yield engine


def test_it_is_served_compact_and_once_made_the_same(engine: Running) -> None:
    first = engine.ask("GET", "/openapi.json")
    assert first.json["openapi"] == "3.1.0"
    assert b": " not in first.body[:200]
    assert engine.ask("GET", "/openapi.json").body == first.body
    assert engine.ask("POST", "/openapi.json", {}).status == 405


def test_answers_are_as_the_document_says(engine: Running) -> None:
    document = with_names(engine.ask("GET", "/openapi.json").json)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=engine.url)
    owner = {"Authorization": f"Bearer {engine.token}"}
    seen: set[int] = set()
    called = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if re.search(LEFT_OUT + PLANNED, operation.path) or ALIASES.match(operation.path):
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=2,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def asked(case: Any) -> None:
            response = case.call(headers=owner, timeout=20)
            seen.add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        asked()
        called += 1
    assert called > 35
    assert {200, 400, 404} <= seen
