"""Constrained answers: a schema or grammar becomes a mask over the vocabulary, token after token.

llguidance does the matching. This module decides what may be compiled, keeps compiling off the other requests' time,
and lands: an answer that must be JSON ends as JSON inside its token limit, whatever the model would rather write.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import llguidance
import llguidance.llamacpp
import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.gbnf import gbnf_to_lark
from fireside_engine.core.grammar_limits import SchemaFacts, check_lark, check_regex, parse_schema
from fireside_engine.core.request import Constraint
from fireside_engine.errors import InternalError, InvalidConstraint, Overloaded
from fireside_engine.llama.landing import Examples, Landing, Mask, Place, Vocabulary, leads_to_end
from fireside_engine.llama.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

COMPILE_SECONDS = 2.0
MAX_STUCK = 2
"""Compilations that passed their time and still run; with more, nothing new is compiled."""
MAX_WAY = 16_384
"""Tokens of the shortest answer that is looked for."""
KEPT = 8
"""Compiled constraints kept for the next request with the same one."""
PATIENCE_FIRST = 400
"""Searching steps for the first way to the end, which JSON must have."""
PATIENCE = 60
"""The same when a token makes another way necessary, and for the first way of other constraints."""
PATIENCE_NEAR = 2
"""The same near the limit, for other constraints; some are slow."""
MAX_FAILED_SEARCHES = 8
"""After so many an answer that is not JSON goes on without a way."""
LANDING_TOKENS = 64
"""Answers that are not JSON look for their end so many tokens before they need it."""

_STACK = 64 << 20
"""The compiler recurses along chains of rules: 3,000 of them overflow the usual 8 MiB."""

_JSON_OPTIONS: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}
"""One optional space after a comma or colon, as models like to write; more would let a small model loop in spaces."""

_SPACINGS = ((", ", ": "), (",", ":"))
"""How JSON is spaced in fact, the usual way first: grammars without a choice, whose forced text is a likely draft."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A constraint, ready to be copied for a request."""

    matcher: llguidance.LLMatcher
    examples: Examples
    in_json: bool
    way: list[int] | None = None
    error: str = ""
    guides: tuple[llguidance.LLMatcher, ...] = ()
    """The same constraint under each of _SPACINGS."""
    table: llguidance.LLTokenizer | None = None


class GrammarCompiler:
    """Compiles constraints for one vocabulary. Thread-safe; made in a moment, its tables on first use or by `warm`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tables: tuple[llguidance.LLTokenizer, Vocabulary] | None = None
        self._tables_lock = threading.Lock()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Constraint, _Compiled] = OrderedDict()
        self._stuck: list[threading.Thread] = []

    def warm(self) -> None:
        """Make the tables: about a second for 150,000 tokens."""
        self._get_tables()

    def compile(self, constraint: Constraint, max_tokens: int) -> Matcher:
        """A matcher for one answer of at most `max_tokens` tokens.

        Takes up to COMPILE_SECONDS, so not for the thread that decodes. Raises InvalidConstraint for what is malformed,
        not supported, too large, or longer than `max_tokens` at its shortest.
        """
        with self._lock:
            compiled = self._kept.get(constraint)
            if compiled is not None:
                self._kept.move_to_end(constraint)
        if compiled is None:
            compiled = self._compile(constraint)
            with self._lock:
                self._kept[constraint] = compiled
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        if compiled.way is not None and len(compiled.way) > max_tokens:
            raise InvalidConstraint(
                "max_tokens is too small: the shortest answer found for this constraint has"
                f" {len(compiled.way)} tokens, and {max_tokens} are allowed.",
                hint=f"Allow at least {len(compiled.way)} tokens.",
            )
        return Matcher(compiled, self._get_tables()[1], self._tokenizer.eog)

    def _get_tables(self) -> tuple[llguidance.LLTokenizer, Vocabulary]:
        with self._tables_lock:
            if self._tables is None:
                tokenizer = self._tokenizer
                with warnings.catch_warnings():
                    # llguidance asks for every token by a name that llama-cpp-python calls outdated.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    table = llguidance.llamacpp.lltokenizer_from_vocab(tokenizer.vocab, eos_token=sorted(tokenizer.eog))
                self._tables = table, Vocabulary(tokenizer)
            return self._tables

    def _compile(self, constraint: Constraint) -> _Compiled:
        # First, because making the tables takes seconds, which nobody shall have for a grammar that is refused.
        grammar, facts = _checked(constraint)
        table, vocabulary = self._get_tables()
        in_json = constraint.kind in ("json_schema", "json_object")
        spaced_grammars = _spaced(constraint) if in_json else []

        def work() -> _Compiled:
            limits = llguidance.LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
            matcher = llguidance.LLMatcher(table, grammar, log_level=0, limits=limits)
            examples = Examples(facts, table, in_json=in_json)
            # Some grammars compile and then match nothing, or are too much to match: the first mask tells.
            matcher.compute_bitmask()
            matcher.compute_ff_tokens()
            if matcher.is_error() or matcher.is_stopped():
                return _Compiled(matcher, examples, in_json, error=matcher.get_error() or "NoExtension")
            landing = Landing(vocabulary, examples)
            place, patience = (Place(), PATIENCE_FIRST) if in_json else (None, PATIENCE)
            way = landing.way(matcher, place, [], MAX_WAY, patience)
            error = landing.error
            if way:
                probe = matcher.deep_copy()
                if not probe.consume_token(way[0]):
                    error = probe.get_error()
                elif not probe.rollback(1):
                    # Some options of Lark grammars prevent it, and without it a token cannot be refused.
                    way = None
            spaced = [llguidance.LLMatcher(table, text, log_level=0, limits=limits) for text in spaced_grammars]
            guides = tuple(guide for guide in spaced if not guide.is_error())
            return _Compiled(matcher, examples, in_json, way, error, guides, table)

        compiled = self._bounded(work)
        if compiled.error:
            raise _explained(compiled.error)
        if in_json and compiled.way is None:
            raise InvalidConstraint(
                "No value of this schema was found that ends.",
                hint="A schema that always asks for another value inside, or contradicts itself, has none.",
            )
        return compiled

    def _bounded(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread with a deep stack, for COMPILE_SECONDS at most. A thread cannot be killed, so one that
        takes longer is left behind; their number is limited, as is what they can be given to do."""
        with self._lock:
            self._stuck = [thread for thread in self._stuck if thread.is_alive()]
            if len(self._stuck) > MAX_STUCK:
                words = "Too many grammars are being compiled."
                raise Overloaded(words, hint="Try again in some seconds.", retry_after=5)
        results: list[T] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001  (raised again by the thread that waits; Rust panics are such)
                failures.append(error)

        with _stack_lock:
            before = threading.stack_size(_STACK)
            try:
                thread = threading.Thread(target=run, name="grammar", daemon=True)
                thread.start()
            finally:
                threading.stack_size(before)
        thread.join(COMPILE_SECONDS)
        if thread.is_alive():
            with self._lock:
                self._stuck.append(thread)
            words = f"The constraint takes longer than {COMPILE_SECONDS:g} seconds to compile."
            raise InvalidConstraint(words, hint="Make it simpler.")
        if failures:
            raise InternalError("The grammar compiler failed.", hint="Simplify the schema or grammar.") from failures[0]
        return results[0]


_stack_lock = threading.Lock()


def _checked(constraint: Constraint) -> tuple[str, SchemaFacts]:
    """The constraint in llguidance's form, after all limits were checked."""
    match constraint.kind:
        case "json_object":
            return _json_grammar({"type": "object"}), SchemaFacts((), ())
        case "json_schema":
            schema, facts = parse_schema(constraint.source)
            return _json_grammar(schema), facts
        case "regex":
            check_regex(constraint.source)
            return llguidance.LLMatcher.grammar_from_regex(constraint.source), SchemaFacts((constraint.source,), ())
        case "lark":
            check_lark(constraint.source)
            return llguidance.LLMatcher.grammar_from_lark(constraint.source), SchemaFacts((), ())
        case "gbnf":
            return llguidance.LLMatcher.grammar_from_lark(gbnf_to_lark(constraint.source)), SchemaFacts((), ())


def _spaced(constraint: Constraint) -> list[str]:
    """The grammar of a checked JSON constraint, once for each of _SPACINGS."""
    schema: dict[str, object] = (
        {"type": "object"} if constraint.kind == "json_object" else parse_schema(constraint.source)[0]
    )
    options: list[JsonCompileOptions] = [
        {**_JSON_OPTIONS, "item_separator": item, "key_separator": key} for item, key in _SPACINGS
    ]
    return [_json_grammar(schema, one) for one in options]


def _json_grammar(schema: dict[str, object], options: JsonCompileOptions = _JSON_OPTIONS) -> str:
    try:
        return str(llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options))
    except ValueError as error:
        raise _explained(str(error)) from error


def _explained(words: str) -> InvalidConstraint:
    """The compiler's words about the client's own grammar, shortened, with what to do."""
    if "oneOf" in words:
        return InvalidConstraint(
            'The alternatives of a "oneOf" may overlap, and exactly one cannot be enforced.',
            hint='Use "anyOf", or tell the alternatives apart by type or by a required property with a "const".',
        )
    if "NoExtension" in words:
        return InvalidConstraint("The constraint allows no answer at all.", hint="Check it for contradictions.")
    line = " ".join(words.split("<state>")[0].split())
    text = line.rstrip(".") if len(line) <= 240 else line[:240] + "…"
    return InvalidConstraint(
        f"The constraint cannot be used: {text}.", hint="Correct or simplify the schema or grammar."
    )


class Matcher:
    """The constraint of one answer. Not thread-safe.

    For each token: `mask(remaining)`, draw among what it allows, and take what `accept` returns.
    """

    def __init__(self, compiled: _Compiled, vocabulary: Vocabulary, eog: frozenset[int]) -> None:
        self._matcher = compiled.matcher.deep_copy()
        self._vocabulary = vocabulary
        self._eog = eog
        self._landing = Landing(vocabulary, compiled.examples)
        self._place = Place() if compiled.in_json else None
        self._way = None if compiled.way is None else list(compiled.way)
        """Tokens to a valid end; None where no way is known and the limit may cut the answer."""
        self._zone = 0
        """A way is kept once so few tokens are left. JSON keeps one from the first token on."""
        if compiled.way is not None:
            self._zone = sys.maxsize if compiled.in_json else len(compiled.way) + LANDING_TOKENS
        self._failed_searches = 0
        self._remaining = MAX_WAY
        self._mask = np.zeros((vocabulary.n + 31) // 32, np.uint32)
        self._is_ended = False
        self._guides = [guide.deep_copy() for guide in compiled.guides]
        """Those that the answer has followed so far."""
        self._table = compiled.table

    def mask(self, remaining: int) -> NDArray[np.uint32]:
        """A bit for each token that may come next, the lowest bit of a word first. The array is used again.

        remaining: how many tokens the answer may still have, this one included. Tokens that end the answer are allowed
        where the constraint may end. Raises InvalidConstraint where the constraint became too complex to go on.
        """
        self._remaining = remaining
        way = self._way
        if way and remaining <= len(way):
            self._mask[:] = 0
            self._mask[way[0] >> 5] = 1 << (way[0] & 31)
            return self._mask
        mask: Mask = self._mask
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if self._matcher.is_error():
            raise _explained(self._matcher.get_error())
        return mask

    def only(self, remaining: int) -> int | None:
        """The one token that may come when the limit is near: nothing else would close the answer in time.

        It holds against bans and biases too. `accept` takes it in; `mask` need not be asked.
        """
        if self._way and remaining <= len(self._way):
            self._remaining = remaining
            return self._way[0]
        return None

    def accept(self, token: int, remaining: int | None = None) -> int:
        """Take in a token that `mask` allowed, or one that is forced; returns the token that was taken.

        remaining: as for `mask`, where it was not asked.

        It is another one where `token` would open more than can be closed in the tokens that remain: then the first of
        the way to the end, or the end itself.
        """
        left = self._remaining = (self._remaining if remaining is None else remaining) - 1
        if token in self._eog:
            return self._end(token)
        self._consume(token)
        known = self._way
        self._way = self._way_after(token, left) if left <= self._zone else None
        if self._way is None and known is not None and left <= self._zone:
            # Only the way known before is certain to end in time.
            if not self._matcher.rollback(1):
                raise InternalError("A token of a constrained answer could not be taken back.")
            self._way = known
            if not known:
                return self._end(self._vocabulary.eos)
            token = known[0]
            self._consume(token)
            self._way = known[1:]
        if self._place is not None:
            self._place.advance(self._vocabulary.piece(token))
        self._guides = [guide for guide in self._guides if guide.consume_token(token)]
        return token

    def _way_after(self, token: int, left: int) -> list[int] | None:
        """A way of at most `left` tokens from the state after `token`, just taken in; None if none is found."""
        way = self._way or []
        if self._matcher.is_accepting():
            return []
        if way and way[0] == token:
            return way[1:]
        if way and len(way) <= left and leads_to_end(self._matcher, way, self._vocabulary.eos):
            return way
        place, patience = None, PATIENCE_NEAR
        if self._place is not None:
            place, patience = self._place.copy(), PATIENCE
            place.advance(self._vocabulary.piece(token))
        found = self._landing.way(self._matcher, place, way, min(left, MAX_WAY), patience)
        if found is None:
            self._failed_searches += 1
            if place is None and self._failed_searches > MAX_FAILED_SEARCHES:
                self._zone = -1
        return found

    def _end(self, token: int) -> int:
        # A Lark grammar may name the token itself; then it is the mask that allows it.
        if not self._matcher.validate_tokens([token]) and not self._mask[token >> 5] >> np.uint32(token & 31) & 1:
            raise InternalError("An answer ended before its constraint was met.")
        self._is_ended = True
        return token

    def _consume(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise _explained(self._matcher.get_error())

    @property
    def finished(self) -> bool:
        """Nothing may follow: the constraint is met and cannot be continued, or the answer was ended."""
        return self._is_ended or bool(self._matcher.is_stopped())

    def forced(self) -> list[int]:
        """Tokens that must come next, whatever the model says; possibly none. They are still to be accepted."""
        return [] if self.finished else list(self._matcher.compute_ff_tokens())

    def likely(self, forced: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens that probably come next: the forced ones, or more where JSON leaves no choice but its spaces."""
        if self.finished or not self._guides or self._table is None:
            return forced
        text = bytes(self._guides[0].compute_ff_bytes())
        return tuple(self._table.tokenize_bytes(text)) if text else forced

    def close(self) -> None:
        """Nothing more is asked; the memory goes with the object."""
        self._is_ended = True
