"""The tokenizer on real vocabularies: llama.cpp's own result, without its traps."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fireside_engine.core.request import ChatPrompt, Message
from fireside_engine.core.template_text import ControlTexts
from fireside_engine.errors import InvalidRequest
from fireside_engine.llama import library
from fireside_engine.llama.library import api
from fireside_engine.llama.tokenizer import MANY_MATCHES, MAX_TEXT, Tokenizer
from fireside_engine.worker.renderer import Renderer, render_chat

pytestmark = pytest.mark.model

CHAT = "{% for m in messages %}{{ open }}{{ m.role }}\n{{ m.content }}{{ close }}\n{% endfor %}{{ tools | tojson }}"


@pytest.fixture(scope="module", params=["smollm2", "qwen_small", "gemma"])
def tokenizer(request: pytest.FixtureRequest) -> Iterator[Tokenizer]:
    path: Path = request.getfixturevalue(request.param)
    library.start()
    params = api.llama_model_default_params()
    params.vocab_only = True
    model = api.llama_model_load_from_file(str(path).encode(), params)
    assert model
    yield Tokenizer(api.llama_model_get_vocab(model))
    api.llama_model_free(model)


def reference(tokenizer: Tokenizer, text: str, parse_special: bool) -> list[int]:
    """llama.cpp alone."""
    data = text.encode()
    room = (ctypes.c_int32 * (len(data) + 16))()
    n = api.llama_tokenize(tokenizer.vocab, data, len(data), room, len(room), False, parse_special)
    return list(room[:n])


def bytes_of(tokenizer: Tokenizer, text: str) -> bytes:
    return b"".join(tokenizer.piece(int(token)) for token in tokenizer.encode(text, False))


def text_of(tokenizer: Tokenizer, tokens: np.ndarray) -> str:
    return b"".join(tokenizer.piece(int(token)) for token in tokens).decode()


PARTS = [
    "a",
    "b ",
    " ",
    "   ",
    "\n",
    "\n\n\n",
    "<",
    "|>",
    "im_",
    "</",
    "é",
    "日本",
    "😀",
    "12",
    "\t\t",
    "<b>",
    "<tool_call>",
    "</s>",
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_tokens_are_those_of_llama_cpp(tokenizer: Tokenizer, data: st.DataObject) -> None:
    pieces = st.one_of(st.sampled_from(PARTS), st.sampled_from(tokenizer.control_texts), st.text(max_size=4))
    text = "".join(data.draw(st.lists(pieces, max_size=12)))
    for parse_special in (False, True):
        assert tokenizer.encode(text, parse_special).tolist() == reference(tokenizer, text, parse_special)


def test_text_of_very_many_defined_tokens_is_cut_without_a_trace(tokenizer: Tokenizer) -> None:
    rng = random.Random(3)
    words = ["x", " y", "\n", "\n\n", "<tool_call>", "</tool_call>", "<b>", "z1"]
    text = "".join(rng.choice(words) for _ in range(4 * MANY_MATCHES))
    assert tokenizer.encode(text, False).tolist() == reference(tokenizer, text, False)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=60))
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    """All but bytes for which a vocabulary has no token at all; llama.cpp drops those, and SmolLM2 lacks some."""
    known = [bytes_of(tokenizer, c) == c.encode() for c in text]
    text = "".join(c for c, is_known in zip(text, known, strict=True) if is_known)
    assert text_of(tokenizer, tokenizer.encode(text, False)) == text


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_literal_segments_tokenize_with_their_surroundings(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """A literal control token between two texts is the same as the whole text read without control tokens."""
    before, after = data.draw(st.text(max_size=10)), data.draw(st.text(max_size=10))
    control = data.draw(st.sampled_from(tokenizer.control_texts))
    tokens = tokenizer.encode_segments([(before, True), (control, False), (after, True)])
    whole = tokenizer.encode(before + control + after, False)
    if not any(text in before + after for text in tokenizer.control_texts):
        assert tokens.tolist()[-len(whole) :] == whole.tolist()


def test_control_tokens_in_a_conversation_are_text(tokenizer: Tokenizer) -> None:
    """For every control token, in every place where somebody may write it."""
    controls = [text for text in tokenizer.control_texts if not text.startswith("<unused")][:40]
    hidden = {i for text in controls for i in tokenizer.encode(text, True) if tokenizer.piece(int(i)) == b""}
    assert hidden
    args = {"open": "[", "close": "]"}
    renderer = Renderer(CHAT, "", "")
    try:
        for control in controls:
            prompt = ChatPrompt(
                (Message("system", f"s {control}"), Message("user", control * 2), Message("tool", f"{control}\n")),
                tools=({"type": "function", "function": {"name": "f", "description": control}},),
                template_args=args,
            )
            segments = render_chat(renderer, ControlTexts(tokenizer.control_texts), prompt)
            tokens = tokenizer.encode_segments(segments)
            body = tokens[1:] if tokens[0] in tokenizer.encode(tokenizer.bos_text, True) else tokens
            assert not hidden & set(body.tolist()), control
            assert text_of(tokenizer, body).count(control) == 5
    finally:
        renderer.close()


def test_the_template_itself_may_write_control_tokens(tokenizer: Tokenizer) -> None:
    control = tokenizer.eos_text
    (token,) = tokenizer.encode(control, True).tolist()
    tokens = tokenizer.encode_segments([(f"a{control}", True), (control, False), (control, True)]).tolist()
    assert tokens.count(token) == 2 and tokens[-1] == token


def test_bos_comes_once_where_the_vocabulary_asks_for_it(tokenizer: Tokenizer) -> None:
    asked = bool(api.llama_vocab_get_add_bos(tokenizer.vocab))
    bos = int(api.llama_vocab_bos(tokenizer.vocab))
    eos = int(api.llama_vocab_eos(tokenizer.vocab))
    for segments in (
        [("hi", True)],
        [(tokenizer.bos_text + "hi", True)],
        [(tokenizer.bos_text, True), ("hi", False)],
        [],
    ):
        tokens = tokenizer.encode_segments(segments).tolist()
        written = any(tokenizer.bos_text in text for text, _ in segments)
        assert tokens.count(bos) == int(asked or written)
        assert tokens[:1] == ([bos] if asked or written else tokens[:1])
        assert eos not in tokens[1:]


def test_ends_of_answers_are_known(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos in tokenizer.eog
    assert all(tokenizer.piece(token) == b"" or token != tokenizer.eos for token in tokenizer.eog)


def test_names_of_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.has(tokenizer.eos_text) and tokenizer.has("a")
    assert not tokenizer.has("<|no such token|>")
    assert tokenizer.eos_text in tokenizer.control_texts


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "😀\ud83d"])
def test_half_characters_are_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        tokenizer.encode(text, False)


def test_text_has_a_largest_size(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="characters"):
        tokenizer.encode_segments([("x" * MAX_TEXT, True), ("x", False)])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("unit", ["<|im_end|>", "<", "\n", "a", "<tool_call>", "<bos>", "x\n"])
def test_large_texts_take_seconds_at_most(tokenizer: Tokenizer, unit: str) -> None:
    """A search that begins anew at every match needs minutes for these."""
    text = unit * (400_000 // len(unit))
    assert tokenizer.encode(text, True).size > 0
    assert tokenizer.encode(text, False).size > 0


def test_empty_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("", True).size == 0
    assert tokenizer.encode("", False).dtype == np.int32
