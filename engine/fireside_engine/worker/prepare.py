"""A Request becomes a Sequence: rendered, tokenized, checked against the context, its constraint compiled.

Runs on threads of its own, beside decoding; everything a request can have wrong is found here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Items

from fireside_engine.core.request import ChatPrompt, Request
from fireside_engine.core.sampling import Sampler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Tokens
from fireside_engine.core.template_text import ControlTexts
from fireside_engine.errors import ContextExceeded, InvalidRequest
from fireside_engine.llama.drawer import RequestDrawer
from fireside_engine.llama.grammar import GrammarCompiler
from fireside_engine.llama.tokenizer import Tokenizer
from fireside_engine.worker.renderer import Renderer, render_chat

CONSTRAINED_LIMIT = 2048
"""Tokens of a constrained answer unless asked otherwise: a small model may never close a string by itself."""


class Preparer:
    """What all requests to one model share. Thread-safe."""

    def __init__(
        self, tokenizer: Tokenizer, renderer: Renderer, controls: ControlTexts, compiler: GrammarCompiler
    ) -> None:
        self._tokenizer = tokenizer
        self._renderer = renderer
        self._controls = controls
        self._compiler = compiler
        self._n_ctx = 0
        self._stop: tuple[str, ...] = ()

    def limit_to(self, n_ctx: int, stop: Items[str]) -> None:
        """n_ctx: tokens a conversation may have. stop: strings that end every chat answer of this model."""
        self._n_ctx = n_ctx
        self._stop = tuple(stop)

    def close(self) -> None:
        self._renderer.close()

    def prepare(self, request: Request) -> Sequence:
        """Raises RequestError for what the caller can change, TemplateFailed for what the model's file forbids."""
        submitted = time.perf_counter()
        prompt = self._tokens(request)
        limit = self._limit(request, len(prompt))
        matcher = None
        if request.constraint is not None and limit > 0:
            matcher = self._compiler.compile(request.constraint, limit)
        banned = sorted(self._tokenizer.eog) if request.ignore_eos else ()
        drawer = RequestDrawer(
            Sampler(request.sampling, self._tokenizer.n_vocab, banned),
            self._tokenizer.piece,
            matcher=matcher,
            logprobs=request.sampling.logprobs is not None,
        )
        stop = self._stop if isinstance(request.prompt, ChatPrompt) else ()
        return Sequence(
            request.id,
            prompt,
            drawer,
            self._tokenizer.piece,
            self._tokenizer.eog,
            limit,
            stops=(*request.stop, *stop),
            submitted=submitted,
        )

    def _tokens(self, request: Request) -> Tokens:
        prompt = request.prompt
        if isinstance(prompt, ChatPrompt):
            segments = render_chat(self._renderer, self._controls, prompt)
            tokens = self._tokenizer.encode_segments(segments)
        else:
            tokens = self._tokenizer.encode_segments([(prompt.text, prompt.parse_special)])
        if len(tokens) == 0:
            raise InvalidRequest("The prompt is empty.", hint="Give it at least one character.")
        if len(tokens) >= self._n_ctx:
            raise ContextExceeded(
                f"The prompt has {len(tokens):,} tokens; this model's context holds {self._n_ctx:,}, answer included.",
                hint="Shorten the prompt, or use a model with a longer context.",
                n_prompt_tokens=len(tokens),
                n_ctx=self._n_ctx,
            )
        return tokens

    def _limit(self, request: Request, n_prompt: int) -> int:
        left = self._n_ctx - n_prompt
        if request.max_tokens is not None:
            return min(request.max_tokens, left)
        return min(CONSTRAINED_LIMIT, left) if request.constraint is not None else left
