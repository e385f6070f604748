"""Answers as llama-server's own endpoints give them: one object, or objects in a stream of which the last has all."""

from __future__ import annotations

import math
from typing import Any

from fireside_engine import errors
from fireside_engine.core.answers.parts import Part, Text
from fireside_engine.core.events import Delta, Finished, FinishReason, Progress, TokenLogprob
from fireside_engine.core.request import FillPrompt, Request, SamplingParams, TokensPrompt
from fireside_engine.server import sse
from fireside_engine.server.inbox import Item
from fireside_engine.server.llamacpp_request import RawCall
from fireside_engine.server.meter import Meter
from fireside_engine.server.openai_answer import progress_body, timings_body
from fireside_engine.server.responses import error_body
from fireside_engine.server.transcript import Said, Transcript


class RawAnswer:
    """A `Voice`."""

    headers = sse.HEADERS
    ping = sse.PING

    def __init__(self, call: RawCall, model: str, meter: Meter) -> None:
        self._call = call
        self._model = model
        self._meter = meter
        self._counts = [0] * len(call.requests)
        self.transcript = Transcript(call.requests, {})

    def begin(self) -> bytes:
        return b""

    def say(self, item: Item, parts: list[Part]) -> bytes:
        match item:
            case Delta(request_id=request_id, n_tokens=n_tokens, logprobs=logprobs):
                index = self.transcript.index(request_id)
                self._counts[index] += n_tokens
                started = self.transcript.answers[index].started
                chunk = {
                    "index": index,
                    "content": "".join(part.text for part in parts if isinstance(part, Text)),
                    "tokens": self._tokens(list(logprobs)),
                    "stop": False,
                    "id_slot": -1,
                    "tokens_predicted": self._counts[index],
                    "tokens_evaluated": started.n_prompt if started is not None else 0,
                    **self._probabilities(list(logprobs)),
                }
                if self._call.timings_per_token:
                    chunk["timings"] = timings_body(self._meter.timings(request_id))
                return sse.event(chunk)
            case Finished(request_id=request_id):
                index = self.transcript.index(request_id)
                return sse.event({**self._result(index), "content": "", "tokens": []})
            case Progress(request_id=request_id) if self._call.return_progress:
                progress = progress_body(item)
                return sse.event({"content": "", "tokens": [], "stop": False, "prompt_progress": progress})
        return b""

    def end(self) -> bytes:
        return b""

    def fail(self, error: errors.FiresideError) -> bytes:
        return sse.event(error_body(error))

    def whole(self) -> object:
        results = [self._selected(self._result(index)) for index in range(len(self._call.requests))]
        return results if self._call.as_list else results[0]

    def _result(self, index: int) -> dict[str, Any]:
        request, said = self._call.requests[index], self.transcript.answers[index]
        end = said.end
        timings = end.timings
        return {
            "index": index,
            "content": said.text,
            "tokens": self._tokens(said.logprobs),
            "id_slot": -1,
            "stop": True,
            "model": self._model,
            "tokens_predicted": timings.predicted_n,
            "tokens_evaluated": end.n_prompt,
            "generation_settings": settings_body(request.sampling, request.max_tokens, request.stop),
            "prompt": _prompt_text(request),
            "has_new_line": "\n" in said.text,
            "truncated": False,
            "stop_type": _stop_type(said),
            "stopping_word": end.stop_string or "",
            "tokens_cached": end.n_prompt + timings.predicted_n,
            "timings": timings_body(timings),
            **self._probabilities(said.logprobs),
        }

    def _selected(self, result: dict[str, Any]) -> dict[str, Any]:
        """Only the fields that were asked for; one inside another is written flat, under its whole path."""
        if self._call.fields is None:
            return result
        selected: dict[str, Any] = {}
        for path in self._call.fields:
            value: Any = result
            for step in path.split("/"):
                value = value.get(step, selected) if isinstance(value, dict) else selected
            if value is not selected:
                selected[path] = value
        return selected

    def _tokens(self, entries: list[TokenLogprob]) -> list[int]:
        return [entry.token for entry in entries] if self._call.with_tokens else []

    def _probabilities(self, entries: list[TokenLogprob]) -> dict[str, Any]:
        if not self._call.n_probs:
            return {}
        return {"completion_probabilities": [self._probability(entry) for entry in entries]}

    def _probability(self, entry: TokenLogprob) -> dict[str, Any]:
        top = [self._likely(*each) for each in entry.top]
        name = "top_probs" if self._call.post_sampling else "top_logprobs"
        return {**self._likely(entry.token, entry.piece, entry.logprob), name: top}

    def _likely(self, token: int, piece: bytes, logprob: float) -> dict[str, Any]:
        found: dict[str, Any] = {"id": token, "token": piece.decode("utf-8", "replace"), "bytes": list(piece)}
        if self._call.post_sampling:
            return {**found, "prob": math.exp(logprob)}
        return {**found, "logprob": max(logprob, -9999.0)}


def settings_body(sampling: SamplingParams, max_tokens: int | None, stop: tuple[str, ...]) -> dict[str, Any]:
    """The parameters under llama-server's names."""
    return {
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_n_sigma": sampling.top_n_sigma,
        "repeat_last_n": sampling.penalty_last_n,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "n_predict": -1 if max_tokens is None else max_tokens,
        "max_tokens": -1 if max_tokens is None else max_tokens,
        "stop": list(stop),
    }


def _prompt_text(request: Request) -> str:
    """The text of the prompt, as far as it was text; the client knows the rest."""
    match request.prompt:
        case TokensPrompt(pieces):
            return "".join(piece for piece in pieces if isinstance(piece, str))
        case FillPrompt(prefix=prefix, middle=middle):
            return prefix + middle
    return ""


def _stop_type(said: Said) -> str:
    end = said.end
    if end.stop_string is not None:
        return "word"
    return "limit" if end.reason is FinishReason.LENGTH else "eos"
