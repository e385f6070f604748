"""Drafts of every source on real models: the text is byte for byte that of plain decoding where that is promised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, SamplingParams, TextPrompt
from fireside_engine.core.speculation import lookup
from fireside_engine.core.vocabulary import difference
from fireside_engine.errors import ModelUnsupported
from fireside_engine.llama.drafter import Drafter, vocabulary_of
from fireside_engine.llama.runner import LlamaRunner
from forced_drafts import Forced

pytestmark = pytest.mark.model

NAMES = "def alpha(x):\n    return x + 1\n\ndef beta(x):\n    return x + 2\n\ndef gamma(x):\n    return x + 3\n"
COPY = ChatPrompt((Message("user", f"Write this again, twice, with y for x:\n{NAMES}\n{NAMES}"),))
SCHEMA = """{"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"},
 "mail": {"type": "string", "maxLength": 20}}, "required": ["name", "age", "mail"], "additionalProperties": false}"""


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    lookup.warm_up()


@pytest.fixture(scope="module")
def bench(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forced]:
    made = Forced(smollm2, tmp_path_factory.mktemp("home"), draft=smollm2)
    yield made
    made.ready.close()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0),
        SamplingParams(temperature=0.8, seed=3),
        SamplingParams(temperature=0.8, seed=4, repeat_penalty=1.1, frequency_penalty=0.2, logprobs=2),
    ],
    ids=["greedy", "sampled", "penalties and log probabilities"],
)
def test_lookups_and_a_draft_model_leave_every_byte_as_it_is(bench: Forced, params: SamplingParams) -> None:
    plain, none = bench.answer(COPY, drafts=False, params=params)
    drafted, timings = bench.answer(COPY, drafts=True, params=params)
    assert drafted == plain
    assert none.draft_n == 0
    assert timings.draft_n_accepted > 3


def test_lookups_alone(bench: Forced) -> None:
    bench.runner = LlamaRunner(bench.ready.context)
    try:
        plain, _ = bench.answer(COPY, drafts=False)
        drafted, timings = bench.answer(COPY, drafts=True)
    finally:
        bench.runner = LlamaRunner(bench.ready.context, drafter=bench.ready.pair.drafter)
    assert drafted == plain
    assert {source for source, _, _ in timings.draft_sources} == {"conversation"}


def test_stop_strings_and_limits(bench: Forced) -> None:
    for more in ({"stop": ("y + 2",)}, {"stop": ("return", "beta")}, {"n": 7}, {"n": 1}):
        plain, _ = bench.answer(COPY, drafts=False, **more)
        drafted, _ = bench.answer(COPY, drafts=True, **more)
        assert drafted == plain


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("logprobs", [None, 1])
def test_a_schema_drafts_its_own_skeleton(bench: Forced, temperature: float, logprobs: int | None) -> None:
    prompt = ChatPrompt((Message("user", "Describe a person as JSON."),))
    more: dict[str, Any] = {
        "constraint": Constraint("json_schema", SCHEMA),
        "params": SamplingParams(temperature=temperature, seed=5, logprobs=logprobs),
    }
    plain, _ = bench.answer(prompt, drafts=False, **more)
    drafted, timings = bench.answer(prompt, drafts=True, **more)
    assert drafted == plain
    assert "grammar" in {source for source, _, accepted in timings.draft_sources if accepted}


def test_gemma_with_its_sliding_window(gemma: Path, tmp_path: Path) -> None:
    for deterministic in (True, False):
        bench = Forced(gemma, tmp_path, deterministic=deterministic)
        # Longer than the window of 512 tokens, so that cells are used again while drafts are taken back.
        prompt = TextPrompt("One, two, three. " * 140)
        plain, _ = bench.answer(prompt, drafts=False, n=60)
        drafted, timings = bench.answer(prompt, drafts=True, n=60)
        bench.ready.close()
        assert timings.draft_n_accepted > 3
        # Without `deterministic` batches may round differently; a window that lost its cells would show at once.
        assert drafted == plain if deterministic else drafted[:80] == plain[:80]


def test_qwen_stays_in_its_window(qwen: Path, tmp_path: Path) -> None:
    bench = Forced(qwen, tmp_path)
    plain, _ = bench.answer(COPY, drafts=False, n=40)
    drafted, timings = bench.answer(COPY, drafts=True, n=40)
    bench.ready.close()
    assert drafted == plain
    assert timings.draft_n_accepted > 5


def test_a_model_with_other_tokens_cannot_draft(bench: Forced, gemma: Path) -> None:
    with pytest.raises(ModelUnsupported, match="cannot draft"):
        Drafter(gemma, bench.ready.context.model, n_ctx=512, n_threads=1)


def test_vocabularies_are_compared_as_llama_cpp_does(bench: Forced) -> None:
    own = vocabulary_of(bench.ready.context.model)
    assert difference(own, own) == ""
    assert difference(own, replace(own, n=own.n + 100)) == ""
    assert "tokens" in difference(own, replace(own, n=own.n + 200))
    assert "another" in difference(own, replace(own, kind=own.kind + 1))
    assert "begin or end" in difference(own, replace(own, bos=own.bos + 1))
    renamed = replace(own, text=lambda token: b"?" if token == 900 else own.text(token))
    assert difference(own, renamed) == "token 900 is another one"


def test_a_draft_model_follows_what_it_is_shown(bench: Forced) -> None:
    from fireside_engine.core.step import Propose

    drafter, sequence = bench.ready.pair.drafter, bench.ready.preparer.prepare(Request("r", COPY))
    assert drafter is not None

    def ask(tokens: Any, k: int = 5) -> list[int]:
        wanted = Propose(0, np.ascontiguousarray(tokens, np.int32), k, 0.0, sequence.drawer)
        drafted = drafter.propose(wanted)
        assert all(0.0 < probability <= 1.0 for _, probability in drafted)
        return [token for token, _ in drafted]

    whole = ask(sequence.prompt)
    assert len(whole) == 5
    other = ask(np.concatenate((sequence.prompt[:40], sequence.prompt[60:])))
    assert ask(sequence.prompt) == whole != other
    assert ask(np.zeros(1020, np.int32), 8) == []
