"""Schemas and grammars made to crash, hang or fill the compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.model

STRING = {"type": "string"}
TYPES = ("string", "integer", "null", "boolean", "array")


def chain(link: Callable[[str], dict[str, Any]], length: int) -> dict[str, Any]:
    """A schema that refers to a schema that refers to a schema…"""
    definitions = {f"d{i}": link(f"#/$defs/d{i + 1}") for i in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{length}": {}}}


BOMBS: dict[str, tuple[str, str]] = {
    "open brackets": ("lark", "start: " + "(" * 60_000),
    "closed brackets": ("lark", "start: " + "(" * 190 + '"a"' + ")" * 190),
    "100,000 rules": ("lark", "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(100_000)) + 'r100000: "a"'),
    "a chain of rules": ("lark", "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(1900)) + 'r1900: "a"'),
    "doubled rules": ("lark", "start: r0\n" + "".join(f"r{i}: r{i + 1} r{i + 1}\n" for i in range(60)) + 'r60: "a"'),
    "doubled words": ("lark", "start: R0\n" + "".join(f"R{i}: R{i + 1} R{i + 1}\n" for i in range(60)) + 'R60: "a"'),
    "rules without end": ("lark", "start: start start start | "),
    "repetitions": ("lark", 'start: (("a"{0,9999}){0,9999}){0,9999}'),
    "many repetitions": ("lark", "start: " + "A{0,1000} " * 90 + "\nA: /[a-z]/"),
    "many options": ("lark", "start: " + "x? " * 5000 + '\nx: "a"'),
    "many words": ("lark", "start: " + "|".join(f'"w{i}"' for i in range(6000))),
    "negations": ("lark", "start: R\nR: /.*a.{20}/ & /.*b.{20}/ & ~/.*c.{20}/"),
    "a subtle multiple": ("lark", 'start: %json {"type": "integer", "multipleOf": 99999989}'),
    "regex brackets": ("regex", "(" * 60_000),
    "regex of states": ("regex", "(a|b)*a(a|b){500}"),
    "regex of classes": ("regex", r"[\p{L}\p{N}]{2000}" * 40),
    "regex of nothing": ("regex", "((((((a*)*)*)*)*)*)*"),
    "deep schema": ("json_schema", '{"items":' * 5000 + "{}" + "}" * 5000),
    "plus after anchor": ("json_schema", '{"type": "string", "pattern": "^+[a-z]$"}'),
    "no JSON": ("json_schema", '{"type": "object'),
    "a chain of references": (
        "json_schema",
        json.dumps(chain(lambda target: {"$ref": target}, 1200)),
    ),
    "doubled schemas": (
        "json_schema",
        json.dumps(chain(lambda target: {"allOf": [{"$ref": target}, {"$ref": target}]}, 40)),
    ),
    "a product of schemas": (
        "json_schema",
        json.dumps({"allOf": [{"anyOf": [{"properties": {f"k{j}": {"type": t}}} for t in TYPES]} for j in range(14)]}),
    ),
    "many patterns": (
        "json_schema",
        json.dumps({"allOf": [{**STRING, "pattern": f".*{c}.*"} for c in "abcdefghijklmnop"]}),
    ),
    "many properties": ("json_schema", json.dumps({"properties": {f"prop{i}": STRING for i in range(1500)}})),
    "a multiple": ("json_schema", '{"type": "integer", "multipleOf": 9973, "minimum": 1}'),
    "GBNF brackets": ("gbnf", "root ::= " + "(" * 60_000),
    "GBNF doubled": (
        "gbnf",
        "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1} r{i + 1} | root\n" for i in range(60)) + 'r60 ::= "a"',
    ),
}

DRIVER = """
import json, random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from grammar_bench import Bench, walk
from test_grammar_bombs import BOMBS
from fireside_engine.errors import FiresideError
bench = Bench(Path(sys.argv[1]))
bench.compiler.warm()
outcome = {}
for name, (kind, source) in BOMBS.items():
    print(name, file=sys.stderr, flush=True)
    try:
        matcher = bench.matcher(kind, source, 400)
        walk(bench, matcher, 40, 1)
        outcome[name] = "used"
    except FiresideError as error:
        outcome[name] = error.code
print(json.dumps(outcome))
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("model", ["smollm2", "qwen_small"])
def test_bombs_neither_crash_nor_hang_the_process(model: str, request: pytest.FixtureRequest) -> None:
    """In a process of its own, because a crash of the compiler would be the end of this one."""
    command = [sys.executable, "-c", DRIVER, str(request.getfixturevalue(model)), str(Path(__file__).parent)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert ended.returncode == 0, ended.stderr[-400:]
    outcome = json.loads(ended.stdout.splitlines()[-1])
    assert outcome.keys() == BOMBS.keys()
    assert set(outcome.values()) <= {"used", "invalid_constraint"}, outcome
    for name in (
        "open brackets",
        "100,000 rules",
        "repetitions",
        "deep schema",
        "no JSON",
        "GBNF brackets",
        "a subtle multiple",
    ):
        assert outcome[name] == "invalid_constraint"
    assert outcome["plus after anchor"] == "used"
