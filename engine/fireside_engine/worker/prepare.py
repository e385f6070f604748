"""A Request becomes a Sequence: rendered, tokenized, checked against the context, its constraint compiled.

Runs on threads of its own, beside decoding; everything a request can have wrong is found here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from dataclasses import replace
from functools import partial

import numpy as np

from fireside_engine.core.answers.choice import end_of_prompt, forced_call, without_thinking
from fireside_engine.core.answers.described import knows_tools, with_tools_described
from fireside_engine.core.answers.formats import ChatFormat
from fireside_engine.core.fill import fill
from fireside_engine.core.moving import steady
from fireside_engine.core.owner import Owner, scope_of
from fireside_engine.core.request import ChatPrompt, FillPrompt, Prompt, Request, TextPrompt, TokensPrompt
from fireside_engine.core.sampling import Sampler
from fireside_engine.core.sequence import Sequence
from fireside_engine.core.step import Tokens
from fireside_engine.core.template_text import ControlTexts, Segment, plain_text
from fireside_engine.errors import ContextExceeded, InvalidRequest, NotSupported
from fireside_engine.llama.drawer import RequestDrawer
from fireside_engine.llama.grammar import GrammarCompiler
from fireside_engine.llama.tokenizer import Encoded, Recall, Tokenizer
from fireside_engine.worker.renderer import Renderer, render_chat

FILL_ROOM = 256
"""Tokens that are kept free for what is filled in, where the request sets no limit."""

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
        self._recall: Callable[[bytes, Items[str]], Mapping[str, Tokens]] | None = None
        self._form = ChatFormat()
        self._template = ""
        self._marks: dict[int, bytes] = {}

    def speak(self, form: ChatFormat, template: str) -> None:
        """How the model marks thinking and calls, and its template, Jinja source."""
        self._form = form
        self._template = template
        for mark in form.visible:
            tokens = self._tokenizer.encode(mark, True)
            if len(tokens) == 1:
                self._marks[int(tokens[0])] = mark.encode()

    def recall_with(self, recall: Callable[[bytes, Items[str]], Mapping[str, Tokens]]) -> None:
        """Tokens of texts that the model itself wrote, by scope."""
        self._recall = recall

    def limit_to(self, n_ctx: int, stop: Items[str]) -> None:
        """n_ctx: tokens a conversation may have. stop: strings that end every chat answer of this model."""
        self._n_ctx = n_ctx
        self._stop = tuple(stop)

    def close(self) -> None:
        self._renderer.close()

    def prepare(self, request: Request) -> Sequence:
        """Raises RequestError for what the caller can change, TemplateFailed for what the model's file forbids."""
        submitted = time.perf_counter()
        opening = ""
        recall: Recall | None = None
        scope = scope_of(request.tenant)
        if isinstance(request.prompt, ChatPrompt):
            request, segments, opening = self._chat(request, request.prompt)
            if self._recall is not None:
                # History is fed as it was generated: its text may have been other tokens than a tokenizer chooses.
                recall = partial(self._recall, scope)
            encoded = self._tokenizer.encode_prompt(segments, recall)
        elif isinstance(request.prompt, FillPrompt):
            encoded = Encoded(self._filled(request.prompt, request.max_tokens), None)
        else:
            encoded = Encoded(self.tokens(request.prompt), None)
        prompt, tail = encoded.tokens, encoded.tail
        if request.begun:
            prompt, tail = np.concatenate((prompt, self._tokenizer.encode(request.begun, False))), None
        self._check_length(prompt)
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
        is_chat = isinstance(request.prompt, ChatPrompt)
        stop = self._stop if is_chat else ()
        return Sequence(
            request.id,
            prompt,
            drawer,
            self._marked_piece if is_chat else self._tokenizer.piece,
            self._tokenizer.eog,
            limit,
            stops=(*request.stop, *stop),
            submitted=submitted,
            opening=opening,
            scope=scope,
            client=request.client,
            hasty=isinstance(request.prompt, FillPrompt),
            owner=Owner(request.tenant, request.conversation) if request.save else None,
            tail=tail,
            speculate=request.speculate,
            given=self._given(request),
            tolerance=request.tolerance,
            report=request.report,
            tells_runs=request.draft_runs,
            greedy=request.sampling.temperature <= 0.0,
            logprobs=request.sampling.logprobs is not None,
            constrained=matcher is not None,
        )

    def _given(self, request: Request) -> Tokens | None:
        """The answer to verify, with the token that ended it."""
        if not request.proposed and not request.proposed_ended:
            return None
        tokens = self._tokenizer.encode(request.proposed, False)
        if request.proposed_ended and self._tokenizer.eos in self._tokenizer.eog:
            tokens = np.append(tokens, np.int32(self._tokenizer.eos))
        return tokens

    def _marked_piece(self, token: int) -> bytes:
        """As the tokenizer's, but marks of thinking and calls are seen even where they are control tokens."""
        return self._marks.get(token) or self._tokenizer.piece(token)

    def _chat(self, request: Request, prompt: ChatPrompt) -> tuple[Request, list[Segment], str]:
        """The request with the constraint that its choice of tools makes, the rendered prompt, and its `opening`."""
        tools = prompt.tools
        prompt = replace(prompt, messages=steady(prompt.messages))
        if tools and not knows_tools(self._template):
            prompt = replace(prompt, messages=with_tools_described(prompt.messages, tools), tools=())
        segments = render_chat(self._renderer, self._controls, prompt)
        if not prompt.add_generation_prompt:
            return request, segments, ""
        left_open = end_of_prompt(self._form, plain_text(segments[-1:]))
        if prompt.forced_tools:
            allowed = [tool for tool in tools if tool["function"]["name"] in prompt.forced_tools]
            opening, constraint = forced_call(self._form, allowed, left_open, self._template)
            return replace(request, constraint=constraint), [*segments, (opening.prompt, True)], opening.parser
        if request.constraint is None:
            return request, segments, left_open
        # What is constrained is the answer, so thinking must be over.
        past = without_thinking(self._form, left_open)
        return request, [*segments, (past, True)], past if self._form.kind == "harmony" else ""

    def template(self) -> dict[str, str]:
        """The chat template, Jinja source."""
        return {"template": self._template}

    def render(self, prompt: ChatPrompt) -> list[Segment]:
        """A conversation as the template writes it, with what the answer is made to begin with."""
        return self._chat(Request("", prompt), prompt)[1]

    def tokens(self, prompt: Prompt) -> Tokens:
        """A prompt's tokens, however many. Raises RequestError, TemplateFailed."""
        match prompt:
            case ChatPrompt():
                return self._tokenizer.encode_segments(self.render(prompt))
            case TextPrompt(text, parse_special):
                return self._tokenizer.encode_segments([(text, parse_special)])
            case FillPrompt():
                return self._filled(prompt, None)
            case TokensPrompt(pieces):
                return self._mixed(pieces)

    def _mixed(self, pieces: tuple[str | tuple[int, ...], ...]) -> Tokens:
        """Text at the front gets the BOS token as text alone does; tokens are taken as they are."""
        parts: list[Tokens] = []
        for piece in pieces:
            if isinstance(piece, str):
                parts.append(self._tokenizer.encode(piece, True))
            else:
                self._tokenizer.check(piece)
                parts.append(np.asarray(piece, np.int32))
        joined = np.concatenate(parts) if parts else np.empty(0, np.int32)
        return self._tokenizer.with_bos(joined) if pieces and isinstance(pieces[0], str) else joined

    def _filled(self, prompt: FillPrompt, max_tokens: int | None) -> Tokens:
        known = self._tokenizer.fill
        if known is None:
            raise NotSupported("This model has no tokens for filling in the middle.", feature="fill")
        answer = min(FILL_ROOM if max_tokens is None else max_tokens, self._n_ctx // 2)
        room = self._n_ctx - answer - 1
        return self._tokenizer.with_bos(fill(prompt, known, lambda text: self._tokenizer.encode(text, False), room))

    def _check_length(self, tokens: Tokens) -> None:
        if len(tokens) == 0:
            raise InvalidRequest("The prompt is empty.", hint="Give it at least one character.")
        if len(tokens) >= self._n_ctx:
            raise ContextExceeded(
                f"The prompt has {len(tokens):,} tokens; this model's context holds {self._n_ctx:,}, answer included.",
                hint="Shorten the prompt, or use a model with a longer context.",
                n_prompt_tokens=len(tokens),
                n_ctx=self._n_ctx,
            )

    def _limit(self, request: Request, n_prompt: int) -> int:
        left = self._n_ctx - n_prompt
        if request.max_tokens is not None:
            return min(request.max_tokens, left)
        return min(CONSTRAINED_LIMIT, left) if request.constraint is not None else left
