"""From bodies of llama-server's endpoints to the engine's own requests. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fireside_engine import errors
from fireside_engine.core.request import FillPrompt, Prompt, Request, TokensPrompt
from fireside_engine.server.call import Call
from fireside_engine.server.llamacpp_schema import CompletionBody, InfillBody, RawBody, TextWithTokens
from fireside_engine.server.openai_request import constraints, first_limit, only, sampling, several
from fireside_engine.server.openai_schema import Extension

_MOST_ANSWERS = 32


@dataclass(frozen=True, slots=True)
class RawCall(Call):
    predict_ms: float | None = None
    indent: int = 0
    fields: tuple[str, ...] | None = None
    """The members of the answer that are wanted."""
    as_list: bool = False
    n_probs: int = 0
    with_tokens: bool = False
    post_sampling: bool = False


def infill_call(body: InfillBody, biased: Mapping[str, tuple[int, ...]]) -> RawCall:
    """`biased`: tokens of the texts in logit_bias."""
    extra = tuple((each.filename, each.text) for each in body.input_extra or ())
    prompt = FillPrompt(body.input_prefix, body.input_suffix, body.prompt or "", extra)
    return _call(body, [prompt], biased, as_list=(body.n_cmpl or body.n or 1) > 1)


def completion_call(body: CompletionBody, biased: Mapping[str, tuple[int, ...]]) -> RawCall:
    """Raises InvalidRequest."""
    prompts = list(_prompts(body))
    as_list = len(prompts) > 1 or (body.n_cmpl or body.n or 1) > 1
    return _call(body, prompts, biased, as_list=as_list)


def texts_with_bias(body: RawBody) -> list[str]:
    """Texts in logit_bias, whose tokens only the model knows."""
    return [token for token, _ in body.logit_bias or () if isinstance(token, str)]


def _call(body: RawBody, prompts: list[Prompt], biased: Mapping[str, tuple[int, ...]], *, as_list: bool) -> RawCall:
    n = body.n_cmpl or body.n or 1
    if body.lora:
        raise errors.InvalidRequest("lora: adapters are not loaded here.", param="lora")
    if n * len(prompts) > _MOST_ANSWERS:
        raise errors.InvalidRequest(f"prompt: at most {_MOST_ANSWERS} answers in one request.", param="prompt")
    identity = f"raw-{secrets.token_hex(12)}"
    wants_tokens = bool(body.return_tokens or body.n_probs)
    own = body.fireside or Extension()
    requests: list[Request] = []
    for index, prompt in enumerate(prompts):
        first = Request(
            id=identity if index == 0 else f"{identity}-p{index}",
            prompt=prompt,
            sampling=sampling(body, _biases(body, biased), (body.n_probs or 0) if wants_tokens else None),
            max_tokens=first_limit(body.n_predict, body.max_tokens),
            stop=tuple(text for text in body.stop or () if text),
            constraint=only(list(constraints(body))),
            # Text around a cursor changes with every key; its KV is worth no disk.
            save=not isinstance(prompt, FillPrompt) and own.save is not False,
            conversation=own.conversation or "",
            speculate=own.speculate not in (False, "off"),
            report=own.report is True,
            ignore_eos=bool(body.ignore_eos),
        )
        requests += several(first, n)
    limit = body.t_max_predict_ms
    return RawCall(
        id=identity,
        model=body.model or "",
        requests=tuple(requests),
        stream=bool(body.stream),
        return_progress=bool(body.return_progress),
        timings_per_token=bool(body.timings_per_token),
        deterministic=own.deterministic,
        draft=own.draft,
        keep_alive=body.keep_alive,
        predict_ms=limit if limit is not None and limit > 0 else None,
        indent=body.n_indent or 0,
        fields=None if body.response_fields is None else tuple(body.response_fields),
        as_list=as_list,
        n_probs=body.n_probs or 0,
        with_tokens=bool(body.return_tokens),
        post_sampling=bool(body.post_sampling_probs),
    )


def _biases(body: RawBody, biased: Mapping[str, tuple[int, ...]]) -> tuple[tuple[int, float], ...]:
    found: list[tuple[int, float]] = []
    for token, bias in body.logit_bias or ():
        found += [(each, bias) for each in (biased[token] if isinstance(token, str) else (token,))]
    return tuple(found)


def _prompts(body: CompletionBody) -> Iterator[Prompt]:
    """One prompt, or a list of them; a list that has a token of its own is one prompt."""
    given = body.prompt
    if isinstance(given, list) and given and not any(isinstance(each, int) for each in given):
        for each in given:
            yield _prompt(each)  # type: ignore[arg-type]  # none of them is a token
    else:
        yield _prompt(given)  # type: ignore[arg-type]  # what is left is one prompt


def _prompt(given: str | list[int | str] | TextWithTokens) -> TokensPrompt:
    if isinstance(given, TextWithTokens):
        return TokensPrompt((given.prompt_string,))
    if isinstance(given, str):
        return TokensPrompt((given,))
    pieces: list[str | tuple[int, ...]] = []
    for each in given:
        if isinstance(each, str):
            pieces.append(each)
        elif pieces and isinstance(last := pieces[-1], tuple):
            pieces[-1] = (*last, each)
        else:
            pieces.append((each,))
    return TokensPrompt(tuple(pieces))
