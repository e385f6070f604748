"""Text to tokens and back, for one loaded vocabulary.

Control tokens are found here, not by llama.cpp, for two reasons. Text that only looks like a control token must stay
text and yet be tokenized together with what surrounds it. And llama.cpp's own search takes time that grows with the
square of the number of matches: 14 s for a megabyte of `<|im_end|>`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.fill import FillTokens
from fireside_engine.core.template_text import Segment, literal_pattern
from fireside_engine.errors import InternalError, InvalidRequest
from fireside_engine.llama.library import api

Tokens = NDArray[np.int32]

MAX_TEXT = 8 << 20
"""Characters; more than any context holds, and already seconds of work."""

MANY_MATCHES = 2048
"""So many user-defined tokens are left to llama.cpp in one go."""

_SPACE = " \t\n\v\f\r"
_INT32_POINTER = ctypes.POINTER(ctypes.c_int32)


Recall = Callable[[Sequence[str]], Mapping[str, Tokens]]
"""Texts to the tokens that some of them are known to have."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a prompt, after its last control token: what an answer goes on from."""

    text: str
    before: int
    """The control token."""
    n: int
    """Tokens of the text."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A prompt as tokens."""

    tokens: Tokens
    tail: Tail | None
    """None where the prompt has no control token."""


class Tokenizer:
    """Immutable once made, so safe for threads. `vocab` must outlive it."""

    def __init__(self, vocab: api.llama_vocab_p) -> None:
        self.vocab = vocab
        self.n_vocab = int(api.llama_vocab_n_tokens(vocab))
        self.eog: frozenset[int] = frozenset(i for i in range(self.n_vocab) if api.llama_vocab_is_eog(vocab, i))
        """Tokens that end an answer."""
        self._bos = int(api.llama_vocab_bos(vocab))
        self._adds_bos = bool(api.llama_vocab_get_add_bos(vocab)) and self._bos >= 0
        self.bos_text = self._text(self._bos)
        self.eos = int(api.llama_vocab_eos(vocab))
        """-1 where the vocabulary names none."""
        self.eos_text = self._text(self.eos)

        attributes = [int(api.llama_vocab_get_attr(vocab, i)) for i in range(self.n_vocab)]
        hidden = api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_UNKNOWN
        self._control = self._by_text(i for i, a in enumerate(attributes) if a & hidden)
        self.controls = frozenset(i for i, a in enumerate(attributes) if a & hidden)
        """Tokens that are no text."""
        self._defined = self._by_text(i for i, a in enumerate(attributes) if a & api.LLAMA_TOKEN_ATTR_USER_DEFINED)
        self._defined = {text: i for text, i in self._defined.items() if text not in self._control}
        self._strips_left = {i for i, a in enumerate(attributes) if a & api.LLAMA_TOKEN_ATTR_LSTRIP}
        self._strips_right = {i for i, a in enumerate(attributes) if a & api.LLAMA_TOKEN_ATTR_RSTRIP}
        self.control_texts: tuple[str, ...] = tuple(self._control)
        """Texts that mean a token only where the chat template writes them. Tokens that a model's makers declared as
        plain words of its language, like `<think>` or `<tool_call>`, are not among them."""
        self._control_pattern = literal_pattern(self._control)
        self._defined_pattern = literal_pattern(self._defined)
        self._pieces: list[bytes | None] = [None] * self.n_vocab

    @property
    def fill(self) -> FillTokens | None:
        """The tokens for filling in the middle, or None where the vocabulary lacks one that is needed."""
        before, after = int(api.llama_vocab_fim_pre(self.vocab)), int(api.llama_vocab_fim_suf(self.vocab))
        middle = int(api.llama_vocab_fim_mid(self.vocab))
        if min(before, after, middle) < 0:
            return None
        project, file = int(api.llama_vocab_fim_rep(self.vocab)), int(api.llama_vocab_fim_sep(self.vocab))
        return FillTokens(before, after, middle, project, file)

    def with_bos(self, tokens: Tokens) -> Tokens:
        """Begun by the BOS token where the vocabulary asks for one."""
        if self._adds_bos and not (tokens.size and tokens[0] == self._bos):
            return np.insert(tokens, 0, self._bos).astype(np.int32)
        return tokens

    def check(self, tokens: Iterable[int]) -> None:
        """Raises InvalidRequest for what is no token of this vocabulary; llama.cpp would abort."""
        for token in tokens:
            if not 0 <= token < self.n_vocab:
                raise InvalidRequest(f"There is no token {token}: this model has {self.n_vocab}.")

    def shown(self, token: int) -> bytes:
        """As `piece`, but control tokens have their text."""
        return self.piece(token) or self._piece(token, special=True)

    # --- text to tokens

    def encode(self, text: str, parse_special: bool) -> Tokens:
        """Tokens of a text, nothing added. `parse_special`: the texts of control tokens mean those tokens.

        Raises InvalidRequest for text that is no text (a lone surrogate) or longer than any context.
        """
        return self._encode([(text, parse_special)])[0]

    def encode_segments(self, segments: Iterable[Segment]) -> Tokens:
        """Tokens of a whole prompt, begun by the BOS token where the vocabulary asks for one; EOS is never added."""
        return self.encode_prompt(segments).tokens

    def encode_prompt(self, segments: Iterable[Segment], recall: Recall | None = None) -> Encoded:
        """The same, with what a later turn needs to know.

        recall: knows texts between control tokens that are to have other tokens than the tokenizer would choose.
        """
        tokens, tail = self._encode(segments, recall)
        if self._adds_bos and not (len(tokens) and tokens[0] == self._bos):
            tokens = np.concatenate((np.array([self._bos], np.int32), tokens))
        return Encoded(tokens, tail)

    def spoken(self, text: str, before: int = -1, after: int = -1) -> Tokens:
        """Tokens of a text that stands between two control tokens (-1: none there)."""
        # Some control tokens take the white space next to them.
        if before in self._strips_right:
            text = text.lstrip(_SPACE)
        if after in self._strips_left:
            text = text.rstrip(_SPACE)
        return self._raw(text) if text else np.empty(0, np.int32)

    def has(self, text: str) -> bool:
        """A single token stands for exactly this text."""
        return text in self._control or text in self._defined or self._raw(text).size == 1

    def _encode(self, segments: Iterable[Segment], recall: Recall | None = None) -> tuple[Tokens, Tail | None]:
        regions = list(self._regions(segments))
        known = recall([text for text, *_ in regions]) if recall is not None else {}
        parts: list[Tokens] = []
        n_last = 0
        for text, before, after in regions:
            tokens = known.get(text)
            if tokens is None:
                tokens = self.spoken(text, before, after)
            n_last = len(tokens)
            parts += [tokens] if after < 0 else [tokens, np.array([after], np.int32)]
        text, before, _ = regions[-1]
        return _join(parts), Tail(text, before, n_last) if before >= 0 else None

    def _regions(self, segments: Iterable[Segment]) -> Iterator[tuple[str, int, int]]:
        """Texts between control tokens, with the token before and the token after each, -1 at the ends.

        Text between two control tokens is tokenized as one, whatever segments it came in.
        """
        waiting: list[str] = []
        size = 0
        last = -1
        for text, parse_special in segments:
            size += len(text)
            if size > MAX_TEXT:
                raise InvalidRequest(f"The prompt has more than {MAX_TEXT} characters.", hint="Send less text.")
            start = 0
            if parse_special and self._control_pattern is not None:
                for match in self._control_pattern.finditer(text):
                    token = self._control[match.group()]
                    waiting.append(text[start : match.start()])
                    yield "".join(waiting), last, token
                    waiting.clear()
                    last, start = token, match.end()
            waiting.append(text[start:])
        yield "".join(waiting), last, -1

    def _raw(self, text: str) -> Tokens:
        """Tokens of text without control tokens.

        Where very many user-defined tokens lie in it, it is cut before some of them. Nothing merges with such a token,
        so the result is the same.
        """
        if self._defined_pattern is None or len(text) <= MANY_MATCHES:
            return self._tokenize(text)
        cuts = [match.start() for match in self._defined_pattern.finditer(text)][MANY_MATCHES::MANY_MATCHES]
        return _join([self._tokenize(text[a:b]) for a, b in pairwise([0, *cuts, len(text)])])

    def _tokenize(self, text: str) -> Tokens:
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"The text has half a character (a lone surrogate) at position {error.start}.",
                hint="Send text that is valid Unicode.",
            ) from error
        # Hardly any vocabulary makes more tokens than bytes; the memory is not touched unless it is used.
        room = len(data) + 16
        for _ in range(2):
            tokens = np.empty(room, np.int32)
            n = int(
                api.llama_tokenize(
                    self.vocab, data, len(data), tokens.ctypes.data_as(_INT32_POINTER), room, False, False
                )
            )
            if n >= 0:
                return tokens[:n].copy()
            room = -n
        raise InternalError("The tokenizer asked for more room than it had asked for.")

    # --- tokens to text

    def piece(self, token: int) -> bytes:
        """Bytes of a token in a text; control tokens are no text, so empty. May be a part of a character."""
        piece = self._pieces[token]
        if piece is None:
            piece = self._piece(token)
            self._pieces[token] = piece
        return piece

    def _piece(self, token: int, special: bool = False) -> bytes:
        room = 64
        for _ in range(2):
            buffer = ctypes.create_string_buffer(room)
            n = int(api.llama_token_to_piece(self.vocab, token, buffer, room, 0, special))
            if n >= 0:
                return buffer.raw[:n]
            room = -n
        raise InternalError("A token's text is longer than it was said to be.")

    def _text(self, token: int) -> str:
        return self._piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def _by_text(self, tokens: Iterable[int]) -> dict[str, int]:
        """Text to token; llama.cpp matches the vocabulary's own text, and so do we."""
        found: dict[str, int] = {}
        for token in tokens:
            text = api.llama_vocab_get_text(self.vocab, token)
            if text:
                found.setdefault(text.decode("utf-8", "replace"), token)
        return found


def _join(parts: list[Tokens]) -> Tokens:
    return np.concatenate(parts) if parts else np.empty(0, np.int32)
