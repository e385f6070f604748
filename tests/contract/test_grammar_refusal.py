"""A constraint that is refused costs nothing."""

from __future__ import annotations

from typing import cast

import pytest

from fireside_engine.core.request import Constraint
from fireside_engine.errors import InvalidConstraint
from fireside_engine.llama.grammar import GrammarCompiler
from fireside_engine.llama.tokenizer import Tokenizer


class NoTokenizer:
    """Whoever asks it for a vocabulary has begun to make the tables."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was asked for")


def test_what_is_beyond_the_limits_is_refused_before_the_tables_are_made() -> None:
    """The first hostile grammar after a load once took 4 s, nearly all of them for the table of the vocabulary."""
    compiler = GrammarCompiler(cast(Tokenizer, NoTokenizer()))
    with pytest.raises(InvalidConstraint):
        compiler.compile(Constraint("lark", "start: " + "(" * 60_000), 100)
