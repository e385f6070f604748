"""A vocabulary, its grammar compiler, and a model without any sense: what tests of constraints share."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fireside_engine.core.request import Constraint
from fireside_engine.errors import InvalidConstraint
from fireside_engine.llama import library
from fireside_engine.llama.grammar import GrammarCompiler, Matcher
from fireside_engine.llama.library import api
from fireside_engine.llama.tokenizer import Tokenizer


class Bench:
    """A vocabulary with its compiler."""

    def __init__(self, path: Path) -> None:
        library.start()
        params = api.llama_model_default_params()
        params.vocab_only = True
        self.model = api.llama_model_load_from_file(str(path).encode(), params)
        self.tokenizer = Tokenizer(api.llama_model_get_vocab(self.model))
        self.compiler = GrammarCompiler(self.tokenizer)

    def matcher(self, kind: Any, source: Any = "", max_tokens: int = 10_000) -> Matcher:
        text = source if isinstance(source, str) else json.dumps(source)
        return self.compiler.compile(Constraint(kind, text), max_tokens)

    def allowed(self, mask: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little", count=self.tokenizer.n_vocab)
        return np.flatnonzero(bits)

    def least(self, kind: Any, source: Any) -> int:
        """Tokens of the shortest answer that the compiler knows."""
        with pytest.raises(InvalidConstraint, match="max_tokens") as caught:
            self.matcher(kind, source, 0)
        found = re.search(r"at least (\d+)", caught.value.hint)
        assert found
        return int(found.group(1))


def walk(bench: Bench, matcher: Matcher, limit: int, seed: int, *, never_ends: bool = False) -> tuple[str, int]:
    """What a model without any sense would write: any allowed token, all alike; or one that never wants to end."""
    rng = random.Random(seed)
    eog = bench.tokenizer.eog
    text = b""
    n = 0
    while n < limit and not matcher.finished:
        tokens = bench.allowed(matcher.mask(limit - n))
        assert tokens.size, "something is always allowed"
        token = int(tokens[rng.randrange(tokens.size)])
        if never_ends and token in eog:
            others = [int(t) for t in tokens if t not in eog]
            token = rng.choice(others) if others else token
        taken = matcher.accept(token)
        n += 1
        if taken in eog:
            break
        text += bench.tokenizer.piece(taken)
    return text.decode("utf-8"), n
