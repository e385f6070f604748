"""Python libraries that make agents and structured answers: each program in `programs/` asserts for itself."""

from __future__ import annotations

import pytest

from conftest import PROGRAMS, Client, Engine

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("python", "program"),
    [
        ("openai", "openai_tool_loop"),
        ("pydantic_ai", "pydantic_ai_loop"),
        ("instructor", "instructor_person"),
        ("smolagents", "smolagents_loop"),
        ("langchain_openai", "langchain_all"),
        ("litellm", "litellm_all"),
    ],
    indirect=["python"],
)
def test_a_library_is_content(engine: Engine, python: Client, program: str) -> None:
    said = python.run(str(PROGRAMS / f"{program}.py"), engine.url, "coder", PYTHONWARNINGS="ignore")
    print(said)
    assert said.rstrip().endswith("ok")
