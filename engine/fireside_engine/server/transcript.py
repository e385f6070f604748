"""The answers of one call while they grow: words, thinking and calls of tools, whatever dialect tells of them."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fireside_engine.core.answers.formats import ChatFormat
from fireside_engine.core.answers.parser import answer_parser
from fireside_engine.core.answers.parts import AnswerParser, CallArguments, CallStart, Part, Reasoning, Text
from fireside_engine.core.events import Delta, Finished, FinishReason, Started, Timings, TokenLogprob
from fireside_engine.core.request import ChatPrompt, Request
from fireside_engine.server.inbox import Item

_ALPHANUMERIC = string.ascii_letters + string.digits


@dataclass(slots=True)
class ToolCall:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The arguments, JSON as the model wrote it."""
        return "".join(self.arguments)


@dataclass(slots=True)
class Said:
    """One answer."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    n_thinking: int = 0
    """Tokens that were thinking and nothing else."""
    started: Started | None = None
    finished: Finished | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        return "".join(self.thoughts)

    @property
    def end(self) -> Finished:
        """To be asked when it is complete."""
        assert self.finished is not None  # noqa: S101
        return self.finished

    @property
    def is_cut(self) -> bool:
        return self.finished is not None and self.finished.reason is FinishReason.LENGTH


class Transcript:
    """Feed it every item of a generation."""

    def __init__(
        self,
        requests: Sequence[Request],
        tools: Mapping[str, Mapping[str, Any]],
        *,
        thinks: bool = True,
        parallel: bool = True,
    ) -> None:
        self._tools = tools
        self._thinks = thinks
        self._parallel = parallel
        self._index = {request.id: index for index, request in enumerate(requests)}
        self._is_chat = bool(requests) and isinstance(requests[0].prompt, ChatPrompt)
        self._parsers: dict[str, AnswerParser] = {}
        self._form = ChatFormat()
        self.answers = [Said() for _ in requests]
        self.load_ms = 0.0
        self.deterministic = False
        self.speculation = ""

    @property
    def complete(self) -> bool:
        return all(said.finished is not None for said in self.answers)

    @property
    def ends(self) -> list[Finished]:
        return [said.finished for said in self.answers if said.finished is not None]

    def index(self, request_id: str) -> int:
        return self._index[request_id]

    def said(self, request_id: str) -> Said:
        return self.answers[self._index[request_id]]

    def speaks(self, form: ChatFormat) -> None:
        """How the model marks thinking and calls; known as soon as it is loaded."""
        self._form = form

    def heed(self, item: Item) -> list[Part]:
        """What `item` adds to its answer."""
        match item:
            case Started(request_id=request_id):
                self.said(request_id).started = item
                return self._take(request_id, item.opening) if self._is_chat else []
            case Delta(request_id=request_id):
                said = self.said(request_id)
                said.logprobs.extend(item.logprobs)
                parts = self._take(request_id, item.text)
                if parts and all(isinstance(part, Reasoning) for part in parts):
                    said.n_thinking += item.n_tokens
                return parts
            case Finished(request_id=request_id):
                said = self.said(request_id)
                said.finished = item
                parser = self._parsers.get(request_id)
                return self._keep(said, parser.finish()) if parser is not None else []
        return []

    def _take(self, request_id: str, text: str) -> list[Part]:
        said = self.said(request_id)
        if not self._is_chat:
            return self._keep(said, [Text(text)] if text else [])
        parser = self._parsers.get(request_id)
        if parser is None:
            opening = said.started.opening if said.started is not None else ""
            parser = answer_parser(self._form, self._tools, thinks=self._thinks, opening=opening)
            self._parsers[request_id] = parser
        return self._keep(said, parser.push(text))

    def _keep(self, said: Said, parts: list[Part]) -> list[Part]:
        kept: list[Part] = []
        for part in parts:
            match part:
                case Text(text):
                    said.texts.append(text)
                case Reasoning(text):
                    said.thoughts.append(text)
                case CallStart(index, name):
                    if index > 0 and not self._parallel:
                        continue
                    said.calls.append(ToolCall(self._call_id(), name))
                case CallArguments(index, text):
                    if index > 0 and not self._parallel:
                        continue
                    said.calls[index].arguments.append(text)
            kept.append(part)
        return kept

    def _call_id(self) -> str:
        if self._form.kind == "mistral":
            # Its templates refuse calls whose id has another length.
            return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))
        return f"call_{secrets.token_hex(12)}"


def together(ends: Sequence[Finished]) -> Timings:
    """Answers share one prompt and run side by side: their tokens add up, their times do not."""
    if len(ends) == 1:
        return ends[0].timings
    first = ends[0].timings
    return Timings(
        cache_n=first.cache_n,
        cache_disk_n=first.cache_disk_n,
        cache_reason=first.cache_reason,
        prompt_n=first.prompt_n,
        prompt_ms=first.prompt_ms,
        predicted_n=sum(end.timings.predicted_n for end in ends),
        predicted_ms=max(end.timings.predicted_ms for end in ends),
        draft_n=sum(end.timings.draft_n for end in ends),
        draft_n_accepted=sum(end.timings.draft_n_accepted for end in ends),
        draft_ms_won=sum(end.timings.draft_ms_won for end in ends),
        draft_sources=tuple(source for end in ends for source in end.timings.draft_sources),
        kept_n=sum(end.timings.kept_n for end in ends),
        deferred_n=sum(end.timings.deferred_n for end in ends),
        route=first.route,
        queue_ms=max(end.timings.queue_ms for end in ends),
    )
