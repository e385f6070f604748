"""The way to the end of a constrained answer: tokens that close what is open, as few as are easily found.

A constrained answer is worthless when the token limit cuts it in two. So whoever draws tokens keeps a known way to the
end, as long as the tokens that are left, and takes it when no other token would leave room for a way.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

import llguidance
import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.grammar_limits import SchemaFacts
from fireside_engine.core.regex_example import FORMATS, example
from fireside_engine.llama.tokenizer import Tokenizer

Mask = NDArray[np.uint32]

_VALUES = (
    "0",
    '""',
    "[]",
    "{}",
    "null",
    "true",
    "false",
    *"123456789",
    '"',
    "-",
    "[",
    "{",
    ":",
    ",",
    ' "',
    " ",
    ".",
    "e",
)
"""Ways to begin or continue a JSON value outside of strings, those that are complete at once first."""

_ENDS = ("}", "]", ",", ',"', "}}", "]}", "}]", "},", "],")
"""What may follow a complete value inside of another."""

_MANY = 40
"""Tokens tried one by one where nothing better is known."""

_MAX_EXAMPLE_ENDS = 64
"""How much of an example's end is tried as the rest of a text that is already begun."""


class Place:
    """Where in a JSON text one is: all that must be known to tell a closing bracket from a character."""

    __slots__ = ("escaped", "in_string")

    def __init__(self) -> None:
        self.in_string = False
        self.escaped = False

    def copy(self) -> Place:
        other = Place()
        other.in_string, other.escaped = self.in_string, self.escaped
        return other

    def advance(self, piece: bytes) -> None:
        if not self.escaped and b'"' not in piece and (not self.in_string or b"\\" not in piece):
            return
        for byte in piece:
            if self.escaped:
                self.escaped = False
            elif byte == 0x22:
                self.in_string = not self.in_string
            elif byte == 0x5C:
                self.escaped = self.in_string


class Examples:
    """Texts that patterns and formats of one constraint match, and their ends, as tokens; shortest first."""

    def __init__(self, facts: SchemaFacts, tokenizer: llguidance.LLTokenizer, *, in_json: bool) -> None:
        texts = {FORMATS[name] for name in facts.formats if name in FORMATS}
        texts |= {text for pattern in facts.patterns if (text := example(pattern))}
        ends = {
            text[start:] for text in texts for start in range(max(0, len(text) - _MAX_EXAMPLE_ENDS), len(text))
        } | texts
        ends.discard("")
        ordered = sorted(ends, key=lambda end: (len(end), end))
        if in_json:
            ordered = [json.dumps(end, ensure_ascii=False)[1:-1] for end in ordered]
        self.tokens = [list(tokenizer.greedy_tokenize(end)) for end in ordered]


class Vocabulary:
    """Tokens of one vocabulary that matter for closing things. Immutable."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.n = tokenizer.n_vocab
        self.piece = tokenizer.piece
        by_text: dict[bytes, int] = {}
        for token in range(tokenizer.n_vocab):
            if token not in tokenizer.eog and (piece := tokenizer.piece(token)):
                by_text.setdefault(piece, token)
        self.eos = tokenizer.eos if tokenizer.eos in tokenizer.eog else min(tokenizer.eog, default=-1)
        self.quotes = _longest_first(by_text, rb'"[}\]]*')
        self.closers = _longest_first(by_text, rb"[}\]]+")
        self.values = _known(by_text, _VALUES)
        self.ends = [int(token) for token in _known(by_text, _ENDS)]
        self.quote = by_text.get(b'"', -1)
        # Long runs get through least lengths quickly; signs are what patterns turn on; other letters come last.
        runs = [c * n for n in (16, 8, 4, 2) for c in (b"a", b"A", b" ")]
        signs = [bytes([c]) for c in b"a0A.-_/:@ ,;\"'}])>\n+#%=?!&*$|~^`<([{\\"]
        ordered = dict.fromkeys([*runs, *signs, *(bytes([c]) for c in range(0x20, 0x7F))])
        self.probes = np.array([by_text[piece] for piece in ordered if piece in by_text], np.int64)

    def allowed(self, tokens: NDArray[np.int64], mask: Mask) -> NDArray[np.int64]:
        """Those of `tokens` that the mask allows, in their order."""
        picked: NDArray[np.int64] = tokens[(mask[tokens >> 5] >> (tokens & 31).astype(np.uint32)) & 1 != 0]
        return picked


def _longest_first(by_text: dict[bytes, int], pattern: bytes) -> NDArray[np.int64]:
    known = [piece for piece in by_text if re.fullmatch(pattern, piece)]
    return np.array([by_text[piece] for piece in sorted(known, key=lambda piece: (-len(piece), piece))], np.int64)


def _known(by_text: dict[bytes, int], texts: Sequence[str]) -> NDArray[np.int64]:
    return np.array([by_text[text.encode()] for text in texts if text.encode() in by_text], np.int64)


def leads_to_end(matcher: llguidance.LLMatcher, way: list[int], eos: int) -> bool:
    """All tokens of `way` are allowed one after the other, and after them the answer may end. Changes nothing."""
    return bool(matcher.validate_tokens([*way, eos]) == len(way) + 1)


class Landing:
    """Finds ways to the end of one constraint's answers. `place` is None where the constraint is not about JSON."""

    def __init__(self, vocabulary: Vocabulary, examples: Examples) -> None:
        self._vocabulary = vocabulary
        self._examples = examples
        self._mask = np.zeros((vocabulary.n + 31) // 32, np.uint32)
        self.error = ""
        """Not empty where the latest search broke off because the constraint became too complex on the way."""

    def way(
        self,
        start: llguidance.LLMatcher,
        place: Place | None,
        hint: list[int],
        limit: int,
        patience: int,
    ) -> list[int] | None:
        """Tokens from the state of `start`, which is not changed, to a state that may end; None if none was found.

        hint: a way from a state nearby; its rest often still fits. limit: the most tokens a way may have. patience: how
        often the next token may be searched for where no rule names it, about a millisecond each time. Counted, not
        timed, so that an answer does not depend on how busy the machine is.
        """
        matcher = start.deep_copy()
        here = place.copy() if place is not None else None
        eos = self._vocabulary.eos
        tokens: list[int] = []
        seen: Counter[int] = Counter()
        while not matcher.is_accepting():
            if matcher.is_error() or matcher.is_stopped():
                self.error = matcher.get_error()
                return None
            for skipped in range(min(3, len(hint))):
                rest = hint[skipped:]
                if leads_to_end(matcher, rest, eos):
                    tokens += rest
                    return tokens if len(tokens) <= limit else None
            step = matcher.compute_ff_tokens() or self._step(matcher, here, seen, patience)
            if not step or len(tokens) + len(step) > limit or not matcher.consume_tokens(step):
                self.error = matcher.get_error()
                return None
            tokens += step
            if here is not None:
                for token in step:
                    here.advance(self._vocabulary.piece(token))
        return tokens

    def _step(self, matcher: llguidance.LLMatcher, place: Place | None, seen: Counter[int], patience: int) -> list[int]:
        """The next tokens to take; empty if there are none."""
        known = self._vocabulary
        mask = self._mask
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if place is None:
            return self._explore(matcher, self._offers(place), [known.eos], seen, patience)
        if not place.in_string:
            closers = known.allowed(known.closers, mask)
            if closers.size:
                return [int(closers[0])]
            values = known.allowed(known.values, mask)
            for token in values.tolist():
                if any(matcher.validate_tokens([token, end]) == 2 for end in (*known.ends, known.eos)):
                    return [token]
            # A number that only some digits complete is searched for; anything else is opened.
            opened = [token for token in values.tolist() if not known.piece(token)[-1:].isdigit()]
            return opened[:1] or self._explore(matcher, self._offers(place), [*known.ends, known.eos], seen, patience)
        quotes = known.allowed(known.quotes, mask)
        if quotes.size and not place.escaped:
            return [int(quotes[0])]
        return self._explore(matcher, self._offers(place), [known.quote], seen, patience)

    def _explore(
        self, matcher: llguidance.LLMatcher, offers: list[int], goals: list[int], seen: Counter[int], patience: int
    ) -> list[int]:
        """Tokens that come nearer to one of `goals` where no rule says which.

        First a token with a goal right behind it; then the rest of an example; else the token that leads where the
        search was least often, which gets through bounded repetitions and out of endless ones.
        """
        known = self._vocabulary
        for token in offers:
            if any(matcher.validate_tokens([token, goal]) == 2 for goal in goals):
                return [token]
        for rest in self._examples.tokens:
            if any(matcher.validate_tokens([*rest, goal]) == len(rest) + 1 for goal in goals):
                return rest
        if seen.total() >= patience:
            return []
        best: list[int] = []
        best_rank = (0, 0)
        chosen = 0
        for token in offers[:_MANY]:
            ahead = matcher.deep_copy()
            if not ahead.consume_token(token):
                continue
            state = hash(ahead.compute_bitmask())
            rank = (seen[state], -len(known.piece(token)))
            if not best or rank < best_rank:
                best, best_rank, chosen = [token], rank, state
        seen[chosen] += 1
        return best

    def _offers(self, place: Place | None) -> list[int]:
        """Tokens that the present mask allows, the most different first: all if there are few, else single characters
        and runs of one character."""
        known = self._vocabulary
        offers = known.allowed(known.probes, self._mask).tolist()
        bits = np.unpackbits(self._mask.view(np.uint8), bitorder="little", count=known.n)
        everything = np.flatnonzero(bits)
        if everything.size <= _MANY or not offers:
            offers = everything[:_MANY].tolist()
        if place is not None and place.in_string and not place.escaped:
            # What begins an escape leads away from the end of the string, and what ends it was tried before.
            plain = [token for token in offers if b"\\" not in known.piece(token) and b'"' not in known.piece(token)]
            offers = plain or offers
        return [token for token in offers if known.piece(token)]
