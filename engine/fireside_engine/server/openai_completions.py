"""`POST /v1/completions`: raw text goes on, or what is missing between a prompt and its suffix is filled in."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp

from fireside_engine import errors
from fireside_engine.core.answers.parts import Part, Text
from fireside_engine.core.events import Delta, Finished, Progress, TokenLogprob
from fireside_engine.core.request import FillPrompt, Prompt, Request, TextPrompt, TokensPrompt
from fireside_engine.models.catalogue import Entry
from fireside_engine.server import sse
from fireside_engine.server.asking import ask
from fireside_engine.server.call import Call
from fireside_engine.server.engine import Engine
from fireside_engine.server.exchange import Exchange
from fireside_engine.server.inbox import Item
from fireside_engine.server.openai_answer import FINGERPRINT, progress_body, timings_body
from fireside_engine.server.openai_chat import LARGE
from fireside_engine.server.openai_request import constraints, first_limit, only, sampling, several
from fireside_engine.server.openai_schema import CompletionBody, Extension, parse
from fireside_engine.server.responses import error_body
from fireside_engine.server.transcript import Said, Transcript, together
from fireside_engine.worker.questions import Detokenize, Tokenize

_MOST_ANSWERS = 32
_DEFAULT_TOKENS = 16
"""OpenAI's, and what clients of this endpoint count on."""


@dataclass(frozen=True, slots=True)
class CompletionCall(Call):
    n: int = 1
    """Answers to each prompt; those of one prompt follow each other."""
    echo: bool = False
    logprobs: int | None = None
    include_usage: bool = False


def completion_call(body: bytes) -> CompletionCall:
    """Raises InvalidRequest, InvalidConstraint."""
    wanted = parse(CompletionBody, body)
    n = wanted.n or 1
    prompts = list(_prompts(wanted))
    if wanted.suffix and wanted.echo:
        raise errors.InvalidRequest("echo: a prompt with a suffix cannot be echoed.", param="echo")
    if n * len(prompts) > _MOST_ANSWERS:
        raise errors.InvalidRequest(f"prompt: at most {_MOST_ANSWERS} answers in one request.", param="prompt")
    identity = f"cmpl-{secrets.token_hex(12)}"
    limit = first_limit(wanted.max_tokens, wanted.n_predict, _DEFAULT_TOKENS)
    own = wanted.fireside or Extension()
    requests: list[Request] = []
    for index, prompt in enumerate(prompts):
        first = Request(
            id=identity if index == 0 else f"{identity}-p{index}",
            prompt=prompt,
            sampling=sampling(wanted, wanted.biases, wanted.logprobs),
            max_tokens=limit,
            stop=tuple(text for text in wanted.stop or () if text),
            constraint=only(list(constraints(wanted))),
            # Text around a cursor changes with every key; its KV is worth no disk.
            save=not isinstance(prompt, FillPrompt) and own.save is not False,
            conversation=own.conversation or "",
            speculate=own.speculate not in (False, "off"),
            report=own.report is True,
            ignore_eos=bool(wanted.ignore_eos),
        )
        requests += several(first, n)
    return CompletionCall(
        id=identity,
        model=wanted.model or "",
        requests=tuple(requests),
        stream=bool(wanted.stream),
        return_progress=bool(wanted.return_progress),
        deterministic=own.deterministic,
        draft=own.draft,
        route=own.route_wish,
        keep_alive=wanted.keep_alive,
        n=n,
        echo=bool(wanted.echo),
        logprobs=wanted.logprobs,
        include_usage=bool(wanted.stream_options and wanted.stream_options.include_usage),
    )


def _prompts(wanted: CompletionBody) -> Iterator[Prompt]:
    given = wanted.prompt
    several_given = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    for each in given if several_given and isinstance(given, list) else [given]:
        if isinstance(each, str):
            # An empty suffix is what clients send who have none (ollama#6932).
            yield FillPrompt(each, wanted.suffix) if wanted.suffix else TextPrompt(each, parse_special=True)
        elif wanted.suffix:
            raise errors.InvalidRequest("suffix: goes with a prompt of text only.", param="suffix")
        else:
            yield TokensPrompt((tuple(each),))  # type: ignore[arg-type]  # lists of tokens are all that is left


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as its answer begins with it."""

    text: str
    tokens: tuple[str, ...] = ()


class Completions:
    """The endpoint is `respond`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def respond(self, request: HttpRequest) -> ASGIApp:
        body = await request.body()
        call = await asyncio.to_thread(completion_call, body) if len(body) > LARGE else completion_call(body)
        route = await self._engine.names.find(call.model)
        echoes = await self._echoes(route.entry, call) if call.echo else []
        return Exchange(self._engine, call, route, CompletionAnswer(call, route.entry.name, echoes))

    async def _echoes(self, entry: Entry, call: CompletionCall) -> list[Echo]:
        echoes = []
        for request in call.requests[:: call.n]:
            prompt = request.prompt
            text = prompt.text if isinstance(prompt, TextPrompt) else ""
            if isinstance(prompt, TokensPrompt):
                tokens = tuple(token for piece in prompt.pieces if not isinstance(piece, str) for token in piece)
                text = str((await ask(self._engine, entry, Detokenize(tokens)))["text"])
            pieces: tuple[str, ...] = ()
            if call.logprobs is not None:
                found = (await ask(self._engine, entry, Tokenize(text)))["pieces"]
                pieces = tuple(p if isinstance(p, str) else bytes(p).decode("utf-8", "replace") for p in found)
            echoes.append(Echo(text, pieces))
        return echoes


class CompletionAnswer:
    """A `Voice`."""

    headers = sse.HEADERS
    ping = sse.PING

    def __init__(self, call: CompletionCall, model: str, echoes: list[Echo]) -> None:
        self._call = call
        self._model = model
        self._echoes = echoes
        self._created = int(time.time())
        self._offsets = [len(echo.text) for echo in echoes for _ in range(call.n)] or [0] * len(call.requests)
        self.transcript = Transcript(call.requests, {})

    def begin(self) -> bytes:
        if not self._echoes:
            return b""
        indices = range(len(self._call.requests))
        return b"".join(sse.event(self._chunk([self._choice(i, self._echo(i).text, None, None)])) for i in indices)

    def say(self, item: Item, parts: list[Part]) -> bytes:
        match item:
            case Delta(request_id=request_id, logprobs=logprobs):
                index = self.transcript.index(request_id)
                text = "".join(part.text for part in parts if isinstance(part, Text))
                return sse.event(self._chunk([self._choice(index, text, self._logprobs(index, logprobs), None)]))
            case Finished(request_id=request_id, timings=timings):
                index = self.transcript.index(request_id)
                choice = self._choice(index, "", None, _reason(self.transcript.answers[index]))
                return sse.event({**self._chunk([choice]), "timings": timings_body(timings)})
            case Progress() if self._call.return_progress:
                return sse.event({**self._chunk([]), "prompt_progress": progress_body(item)})
        return b""

    def end(self) -> bytes:
        if not self._call.include_usage:
            return sse.DONE
        return sse.event({**self._chunk([]), "usage": self._usage()}) + sse.DONE

    def fail(self, error: errors.FiresideError) -> bytes:
        return sse.event(error_body(error))

    def whole(self) -> dict[str, Any]:
        choices = []
        for index, said in enumerate(self.transcript.answers):
            echo = self._echo(index)
            logprobs = None
            if self._call.logprobs is not None:
                before = _echoed(echo)
                after = self._logprobs(index, tuple(said.logprobs)) or _echoed(Echo(""))
                logprobs = {key: before[key] + after[key] for key in before}
            choices.append(self._choice(index, echo.text + said.text, logprobs, _reason(said)))
        timings = timings_body(together(self.transcript.ends))
        return {**self._chunk(choices), "usage": self._usage(), "timings": timings}

    def _echo(self, index: int) -> Echo:
        return self._echoes[index // self._call.n] if self._echoes else Echo("")

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._call.id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }

    @staticmethod
    def _choice(index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}

    def _logprobs(self, index: int, entries: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
        if not entries:
            return None
        found: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for entry in entries:
            text = entry.piece.decode("utf-8", "replace")
            found["tokens"].append(text)
            found["token_logprobs"].append(max(entry.logprob, -9999.0))
            top = {piece.decode("utf-8", "replace"): max(value, -9999.0) for _, piece, value in entry.top}
            found["top_logprobs"].append(top or None)
            found["text_offset"].append(self._offsets[index])
            self._offsets[index] += len(text)
        return found

    def _usage(self) -> dict[str, Any]:
        ends = self.transcript.ends
        prompt = sum(end.n_prompt for end in ends[:: self._call.n])
        completion = sum(end.timings.predicted_n for end in ends)
        cached = sum(end.timings.cache_n for end in ends[:: self._call.n])
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def _echoed(echo: Echo) -> dict[str, list[Any]]:
    """Tokens of a prompt; how likely they were is not computed, which is null here as for OpenAI's first token."""
    offsets, at = [], 0
    for token in echo.tokens:
        offsets.append(at)
        at += len(token)
    unknown = [None] * len(echo.tokens)
    return {
        "tokens": list(echo.tokens),
        "token_logprobs": unknown,
        "top_logprobs": list(unknown),
        "text_offset": offsets,
    }


def _reason(said: Said) -> str:
    return "length" if said.is_cut else "stop"
