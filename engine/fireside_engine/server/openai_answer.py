"""From the engine's events to answers of OpenAI's dialect, whole and in chunks. Pure but for the clock of `created`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fireside_engine import __version__
from fireside_engine.core.events import Delta, Finished, FinishReason, Progress, Timings, TokenLogprob
from fireside_engine.server.openai_request import ChatCall
from fireside_engine.worker.protocol import Loading

FINGERPRINT = f"fireside-{__version__}"


@dataclass(slots=True)
class Choice:
    """One answer while it grows."""

    text: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finished: Finished | None = None


class Answer:
    """Everything that one call is answered with."""

    def __init__(self, call: ChatCall, model: str, reason: str) -> None:
        self._call = call
        self._model = model
        self._reason = reason
        self._created = int(time.time())
        self._index = {request.id: index for index, request in enumerate(call.requests)}
        self.choices = [Choice() for _ in call.requests]
        self.load_ms = 0.0
        self.deterministic = False

    @property
    def complete(self) -> bool:
        return all(choice.finished is not None for choice in self.choices)

    def choice(self, request_id: str) -> Choice:
        return self.choices[self._index[request_id]]

    # --- in chunks

    def role_chunks(self) -> Iterable[dict[str, Any]]:
        for index in range(len(self.choices)):
            yield self._chunk([_piece(index, {"role": "assistant", "content": None})])

    def loading_chunk(self, loading: Loading) -> dict[str, Any]:
        stage = {"stage": "loading", "model": self._model, "step": loading.stage, "fraction": loading.fraction}
        return {**self._chunk([]), "fireside": stage}

    def progress_chunk(self, progress: Progress) -> dict[str, Any]:
        done = {
            "total": progress.total,
            "cache": progress.cached,
            "processed": progress.processed,
            "time_ms": round(progress.elapsed_ms, 3),
        }
        return {**self._chunk([]), "prompt_progress": done}

    def delta_chunk(self, delta: Delta) -> dict[str, Any]:
        choice = _piece(self._index[delta.request_id], {"content": delta.text} if delta.text else {})
        if delta.logprobs:
            choice["logprobs"] = {"content": [_logprob(entry) for entry in delta.logprobs], "refusal": None}
        return self._chunk([choice])

    def finish_chunk(self, finished: Finished) -> dict[str, Any]:
        choice = _piece(self._index[finished.request_id], {}, _reason(finished))
        return {
            **self._chunk([choice]),
            "timings": timings_body(finished.timings),
            "fireside": self._extension([finished]),
        }

    def usage_chunk(self) -> dict[str, Any]:
        ends = self._ends()
        return {**self._chunk([]), "usage": _usage(ends), "timings": timings_body(_together(ends))}

    # --- whole

    def whole(self) -> dict[str, Any]:
        ends = self._ends()
        return {
            "id": self._call.id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": "".join(choice.text)},
                    "logprobs": {"content": choice.logprobs, "refusal": None} if choice.logprobs else None,
                    "finish_reason": _reason(end),
                }
                for index, (choice, end) in enumerate(zip(self.choices, ends, strict=True))
            ],
            "usage": _usage(ends),
            "timings": timings_body(_together(ends)),
            "fireside": self._extension(ends),
        }

    def add(self, delta: Delta) -> None:
        choice = self.choice(delta.request_id)
        choice.text.append(delta.text)
        choice.logprobs.extend(_logprob(entry) for entry in delta.logprobs)

    # --- parts

    def _ends(self) -> list[Finished]:
        return [choice.finished for choice in self.choices if choice.finished is not None]

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._call.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }

    def _extension(self, ends: Sequence[Finished]) -> dict[str, Any]:
        request = self._call.requests[self._index[ends[0].request_id]]
        return {
            "route": self._model,
            "reason": self._reason,
            "exact": all(end.exact for end in ends),
            "seed": request.sampling.seed,
            "queue_ms": round(max(end.timings.queue_ms for end in ends), 3),
            "load_ms": round(self.load_ms, 3),
            "deterministic": self.deterministic,
            "cache_reason": ends[0].timings.cache_reason,
        }


def timings_body(timings: Timings) -> dict[str, Any]:
    """llama-server's names, and its arithmetic but for the first token, which is the prompt's."""
    return {
        "cache_n": timings.cache_n,
        "cache_ram_n": timings.cache_n - timings.cache_disk_n,
        "cache_disk_n": timings.cache_disk_n,
        "prompt_n": timings.prompt_n,
        "prompt_ms": round(timings.prompt_ms, 3),
        "prompt_per_token_ms": round(timings.prompt_ms / timings.prompt_n, 4) if timings.prompt_n else 0.0,
        "prompt_per_second": round(timings.prompt_per_second, 3),
        "predicted_n": timings.predicted_n,
        "predicted_ms": round(timings.predicted_ms, 3),
        "predicted_per_token_ms": (
            round(timings.predicted_ms / (timings.predicted_n - 1), 4) if timings.predicted_n > 1 else 0.0
        ),
        "predicted_per_second": round(timings.predicted_per_second, 3),
        "draft_n": timings.draft_n,
        "draft_n_accepted": timings.draft_n_accepted,
    }


def _together(ends: Sequence[Finished]) -> Timings:
    """Choices share one prompt and run side by side: their tokens add up, their times do not."""
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
        queue_ms=max(end.timings.queue_ms for end in ends),
    )


def _usage(ends: Sequence[Finished]) -> dict[str, Any]:
    prompt = ends[0].n_prompt
    completion = sum(end.timings.predicted_n for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": ends[0].timings.cache_n},
    }


def _piece(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _reason(finished: Finished) -> str:
    return "length" if finished.reason is FinishReason.LENGTH else "stop"


def _logprob(entry: TokenLogprob) -> dict[str, Any]:
    return {
        **_token(entry.piece, entry.logprob),
        "top_logprobs": [_token(piece, logprob) for _, piece, logprob in entry.top],
    }


def _token(piece: bytes, logprob: float) -> dict[str, Any]:
    # JSON knows no infinities; OpenAI writes this number for a token that cannot come.
    finite = max(logprob, -9999.0)
    return {"token": piece.decode("utf-8", "replace"), "logprob": finite, "bytes": list(piece)}
