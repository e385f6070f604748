"""Answers questions beside the loop, on threads of its own; none of them touches the context that decodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fireside_engine.core.owner import scope_of
from fireside_engine.core.step import Tokens
from fireside_engine.core.template_text import plain_text
from fireside_engine.errors import FiresideError, InvalidRequest
from fireside_engine.llama.tokenizer import Tokenizer
from fireside_engine.worker.pools import started_pool, typed
from fireside_engine.worker.prepare import Preparer
from fireside_engine.worker.protocol import Reply
from fireside_engine.worker.questions import (
    Ask,
    Count,
    Describe,
    Detokenize,
    Embed,
    Held,
    Question,
    Render,
    Tokenize,
    Told,
)

log = logging.getLogger(__name__)


class Desk:
    def __init__(self, tokenizer: Tokenizer, preparer: Preparer) -> None:
        self._tokenizer = tokenizer
        self._preparer = preparer
        self._pool = started_pool(2, "desk")
        self._known: Callable[[bytes, Tokens], tuple[int, int]] = lambda _scope, _tokens: (0, 0)

    def look_with(self, known: Callable[[bytes, Tokens], tuple[int, int]]) -> None:
        """How many of the first tokens of a prompt are in KV in memory, and on disk; by scope."""
        self._known = known

    def ask(self, ask: Ask, send: Callable[[Reply], None]) -> None:
        """`send` gets the answer, from another thread."""
        self._pool.submit(self._answered, ask, send)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answered(self, ask: Ask, send: Callable[[Reply], None]) -> None:
        try:
            told = Told(ask.id, self.answer(ask.question))
        except FiresideError as error:
            told = Told(ask.id, error=error.to_dict())
        except Exception as error:
            log.exception("a question could not be answered")
            told = Told(ask.id, error=typed(error, "The model's process could not answer").to_dict())
        send(told)

    def answer(self, question: Question) -> dict[str, Any]:
        """Raises RequestError, TemplateFailed."""
        match question:
            case Describe():
                return {
                    **self._preparer.template(),
                    "bos": self._tokenizer.bos_text,
                    "eos": self._tokenizer.eos_text,
                    "fill": self._tokenizer.fill is not None,
                }
            case Tokenize(text, add_special, parse_special):
                tokens = self._tokenizer.encode(text, parse_special)
                if add_special:
                    tokens = self._tokenizer.with_bos(tokens)
                found = [int(token) for token in tokens]
                return {"tokens": found, "pieces": [_text(self._tokenizer.shown(token)) for token in found]}
            case Detokenize(tokens):
                self._tokenizer.check(tokens)
                return {"text": b"".join(map(self._tokenizer.shown, tokens)).decode("utf-8", "replace")}
            case Render(prompt):
                return {"text": plain_text(self._preparer.render(prompt))}
            case Count(prompt):
                return {"n": len(self._preparer.tokens(prompt))}
            case Held(prompt, tenant):
                tokens = self._preparer.tokens(prompt)
                ram, disk = self._known(scope_of(tenant), tokens)
                return {"n": len(tokens), "ram": ram, "disk": max(0, disk - ram)}
            case Embed():
                raise InvalidRequest("This model is loaded for answers, not for embeddings.")


def _text(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
