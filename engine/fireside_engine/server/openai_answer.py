"""From the engine's events to answers of OpenAI's dialect, whole and in chunks. Pure but for the clock of `created`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fireside_engine import __version__, errors
from fireside_engine.core.answers.parts import CallArguments, CallStart, Part, Reasoning, Text
from fireside_engine.core.events import Delta, Finished, Progress, Started, Timings, TokenLogprob
from fireside_engine.server import sse
from fireside_engine.server.inbox import Item
from fireside_engine.server.meter import Meter
from fireside_engine.server.openai_request import ChatCall
from fireside_engine.server.responses import error_body
from fireside_engine.server.transcript import Said, ToolCall, Transcript, together
from fireside_engine.worker.protocol import Loading

FINGERPRINT = f"fireside-{__version__}"


class Answer:
    """Everything that one call is answered with. A `Voice`."""

    headers = sse.HEADERS
    ping = sse.PING

    def __init__(self, call: ChatCall, model: str, reason: str, meter: Meter) -> None:
        self._call = call
        self._model = model
        self._reason = reason
        self._meter = meter
        self._created = int(time.time())
        self.transcript = Transcript(call.requests, call.tools, thinks=call.thinks, parallel=call.parallel)

    # --- in chunks

    def begin(self) -> bytes:
        roles = range(len(self._call.requests))
        return b"".join(
            sse.event(self._chunk([_piece(index, {"role": "assistant", "content": None})])) for index in roles
        )

    def say(self, item: Item, parts: list[Part]) -> bytes:
        chunks: list[dict[str, Any]] = []
        match item:
            case Loading() if self._call.return_progress:
                chunks.append(self.loading_chunk(item))
            case Progress() if self._call.return_progress:
                chunks.append(self.progress_chunk(item))
            case Started(request_id=request_id):
                chunks += self._part_chunks(request_id, parts)
            case Delta():
                chunks += self._delta_chunks(item, parts)
            case Finished(request_id=request_id):
                chunks += [*self._part_chunks(request_id, parts), self.finish_chunk(item)]
        return b"".join(map(sse.event, chunks))

    def end(self) -> bytes:
        return (sse.event(self.usage_chunk()) if self._call.include_usage else b"") + sse.DONE

    def fail(self, error: errors.FiresideError) -> bytes:
        return sse.event(error_body(error))

    def loading_chunk(self, loading: Loading) -> dict[str, Any]:
        stage = {"stage": "loading", "model": self._model, "step": loading.stage, "fraction": loading.fraction}
        return {**self._chunk([]), "fireside": stage}

    def progress_chunk(self, progress: Progress) -> dict[str, Any]:
        return {**self._chunk([]), "prompt_progress": progress_body(progress)}

    def _delta_chunks(self, delta: Delta, parts: list[Part]) -> list[dict[str, Any]]:
        index = self.transcript.index(delta.request_id)
        chunks = self._part_chunks(delta.request_id, parts)
        if delta.logprobs:
            if not chunks:
                # Its words are held back, because they may become a call.
                chunks = [self._chunk([_piece(index, {})])]
            chunks[0]["choices"][0]["logprobs"] = _logprobs(delta.logprobs)
        if self._call.timings_per_token and chunks:
            chunks[-1]["timings"] = timings_body(self._meter.timings(delta.request_id))
        return chunks

    def _part_chunks(self, request_id: str, parts: list[Part]) -> list[dict[str, Any]]:
        index = self.transcript.index(request_id)
        calls = self.transcript.answers[index].calls
        return [self._chunk([_piece(index, _delta(part, calls))]) for part in parts]

    def finish_chunk(self, finished: Finished) -> dict[str, Any]:
        index = self.transcript.index(finished.request_id)
        choice = _piece(index, {}, _reason(self.transcript.answers[index]))
        return {
            **self._chunk([choice]),
            "timings": timings_body(finished.timings),
            "fireside": self._extension([finished]),
        }

    def usage_chunk(self) -> dict[str, Any]:
        timings = timings_body(together(self.transcript.ends))
        return {**self._chunk([]), "usage": usage(self.transcript), "timings": timings}

    # --- whole

    def whole(self) -> dict[str, Any]:
        ends = self.transcript.ends
        return {
            "id": self._call.id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
            "choices": [
                {
                    "index": index,
                    "message": _message(said),
                    "logprobs": _logprobs(said.logprobs) if said.logprobs else None,
                    "finish_reason": _reason(said),
                }
                for index, said in enumerate(self.transcript.answers)
            ],
            "usage": usage(self.transcript),
            "timings": timings_body(together(ends)),
            "fireside": self._extension(ends),
        }

    # --- parts

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._call.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }

    def _draft_runs(self, end: Finished) -> list[tuple[int, int]]:
        """In characters of `content`, which is the last part of what the model wrote unless it called a tool."""
        said = self.transcript.answers[self.transcript.index(end.request_id)]
        before = end.n_chars - len(said.text)
        if said.calls or before < 0:
            return []
        moved = [(max(0, first - before), first + size - before) for first, size in end.draft_runs]
        return [(first, stop - first) for first, stop in moved if stop > first]

    def _extension(self, ends: Sequence[Finished]) -> dict[str, Any]:
        request = self._call.requests[self.transcript.index(ends[0].request_id)]
        chosen = ends[0].timings.route or {}
        return {
            "route": chosen.get("tier", self._model),
            "reason": chosen.get("reason", self._reason),
            "exact": all(end.exact for end in ends),
            "seed": request.sampling.seed,
            "queue_ms": round(max(end.timings.queue_ms for end in ends), 3),
            "load_ms": round(self.transcript.load_ms, 3),
            "deterministic": self.transcript.deterministic,
            "cache_reason": ends[0].timings.cache_reason,
            "speculation": self.transcript.speculation,
            **({"draft_runs": self._draft_runs(ends[0])} if request.draft_runs else {}),
            **({"speculation_report": ends[0].speculation} if ends[0].speculation else {}),
        }


def progress_body(progress: Progress) -> dict[str, Any]:
    """As llama-server tells how far the prompt is."""
    return {
        "total": progress.total,
        "cache": progress.cached,
        "processed": progress.processed,
        "time_ms": round(progress.elapsed_ms, 3),
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
        "draft_ms_won": round(timings.draft_ms_won, 3),
        "draft_sources": sources_body(timings.draft_sources),
        **(
            {"kept_n": timings.kept_n, "deferred_n": timings.deferred_n} if timings.kept_n or timings.deferred_n else {}
        ),
        **({"route": timings.route} if timings.route is not None else {}),
    }


def sources_body(sources: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """By source, how many tokens were drafted and how many of them accepted."""
    body: dict[str, Any] = {}
    for source, drafted, accepted in sources:
        counts = body.setdefault(source, {"draft_n": 0, "draft_n_accepted": 0})
        counts["draft_n"] += drafted
        counts["draft_n_accepted"] += accepted
    return body


def usage(transcript: Transcript) -> dict[str, Any]:
    """Tokens of all answers together; the prompt counts once."""
    ends = transcript.ends
    prompt = ends[0].n_prompt
    completion = sum(end.timings.predicted_n for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": ends[0].timings.cache_n},
        "completion_tokens_details": {"reasoning_tokens": sum(said.n_thinking for said in transcript.answers)},
    }


def _message(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.thoughts:
        message["reasoning_content"] = said.reasoning
    if said.calls:
        message["content"] = said.text or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in said.calls
        ]
    return message


def _delta(part: Part, calls: list[ToolCall]) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"content": text}
        case Reasoning(text):
            return {"reasoning_content": text}
        case CallStart(index, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": calls[index].id, "type": "function", "function": function}]}
        case CallArguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def _piece(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _reason(said: Said) -> str:
    if said.is_cut:
        return "length"
    return "tool_calls" if said.calls else "stop"


def _logprobs(entries: Sequence[TokenLogprob]) -> dict[str, Any]:
    content = [
        {
            **_token(entry.piece, entry.logprob),
            "top_logprobs": [_token(piece, logprob) for _, piece, logprob in entry.top],
        }
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def _token(piece: bytes, logprob: float) -> dict[str, Any]:
    # JSON knows no infinities; OpenAI writes this number for a token that cannot come.
    finite = max(logprob, -9999.0)
    return {"token": piece.decode("utf-8", "replace"), "logprob": finite, "bytes": list(piece)}
