"""Prompts for filling in the middle, and answers that stay in their block."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.fill import CUT, FillTokens, fill
from fireside_engine.core.indent import IndentGuard
from fireside_engine.core.request import FillPrompt
from fireside_engine.core.step import Tokens

TOKENS = FillTokens(900, 901, 902, 903, 904)
PLAIN = FillTokens(900, 901, 902)


def encode(text: str) -> Tokens:
    """Every character is a token."""
    return np.array([ord(char) % 800 for char in text], np.int32)


def shown(tokens: Tokens) -> str:
    names = {900: "<P>", 901: "<S>", 902: "<M>", 903: "<R>", 904: "<F>"}
    return "".join(names.get(int(token), chr(int(token))) for token in tokens)


def test_the_order_is_that_of_the_models_makers() -> None:
    assert shown(fill(FillPrompt("a", "b", "c"), TOKENS, encode, 100)) == "<P>ac<S>b<M>"
    extra = (("x.py", "X"), ("y.py", "Y"))
    assert shown(fill(FillPrompt("a", "b", extra=extra), TOKENS, encode, 200)) == (
        "<R>project\n<F>x.py\nX<F>y.py\nY<F>filename\n<P>a<S>b<M>"
    )
    assert shown(fill(FillPrompt("a", "b", extra=extra), PLAIN, encode, 200)) == (
        "\n\n--- snippet ---\n\nX\n\n--- snippet ---\n\nY<P>a<S>b<M>"
    )


def test_other_files_give_way_first_and_the_least_important_of_them() -> None:
    extra = (("x.py", "X" * 50), ("y.py", "Y" * 50))
    found = shown(fill(FillPrompt("a" * 50, "b" * 50, extra=extra), TOKENS, encode, 200))
    assert "X" not in found
    assert "Y" * 50 in found
    assert "<P>" + "a" * 50 + "<S>" + "b" * 50 in found


def test_while_somebody_types_the_beginning_stays() -> None:
    """A window that moves with every key would make each prompt new to the KV cache from its first token on."""
    text = "".join(chr(97 + i % 26) for i in range(3000))
    starts = {shown(fill(FillPrompt(text[:end], ""), TOKENS, encode, 1000))[:300] for end in range(2000, 2000 + CUT)}
    assert len(starts) <= 2


@given(st.integers(0, 3000), st.integers(0, 3000), st.lists(st.integers(0, 500), max_size=4), st.integers(64, 2000))
def test_a_prompt_fits_and_holds_what_is_near_the_cursor(before: int, after: int, extra: list[int], room: int) -> None:
    files = tuple((f"{i}.py", "x" * size) for i, size in enumerate(extra))
    prompt = FillPrompt("p" * before + "P" * 8, "Q" * 8 + "q" * after, extra=files)
    found = shown(fill(prompt, TOKENS, encode, room))
    assert len(fill(prompt, TOKENS, encode, room)) <= room
    assert "PPPPPPPP<S>QQQQQQQQ" in found
    assert found.endswith("<M>")


@given(st.text(alphabet="ab \n\t", max_size=40), st.integers(1, 4), st.lists(st.integers(1, 9), max_size=40))
def test_a_block_ends_where_the_indentation_does(text: str, least: int, sizes: list[int]) -> None:
    def cut(pieces: list[int]) -> tuple[str, bool]:
        guard, out, at = IndentGuard(least), "", 0
        for size in [*pieces, len(text) + 1]:
            out += guard.push(text[at : at + size])
            at += size
        return out, guard.ended

    out, ended = cut(sizes)
    assert (out, ended) == cut([1] * len(text))
    assert text.startswith(out)
    lines = text.split("\n")
    outside = [line for line in lines[1:] if line.strip() and len(line) - len(line.lstrip()) < least]
    assert ended == bool(outside)
