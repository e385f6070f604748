"""Frames between server and worker."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fireside_engine.core.events import Delta, Failed, Finished, FinishReason, Progress, Started, Timings, TokenLogprob
from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request, SamplingParams, TextPrompt
from fireside_engine.worker.protocol import (
    Beat,
    Cancel,
    Happened,
    Load,
    Loading,
    LoadOptions,
    Submit,
    decode_command,
    decode_reply,
    encode_command,
    encode_reply,
    frame_length,
    read_frame,
)

texts = st.text(max_size=20)
floats = st.floats(-1e6, 1e6)
requests = st.builds(
    Request,
    texts,
    st.builds(ChatPrompt, st.lists(st.builds(Message, st.sampled_from(["user", "system"]), texts)).map(tuple))
    | st.builds(TextPrompt, texts, st.booleans()),
    st.builds(SamplingParams, seed=st.integers(0, (1 << 64) - 1), logit_bias=st.just(((1, -2.5),))),
    st.none() | st.integers(0, 1000),
    st.lists(texts).map(tuple),
    st.none() | st.builds(Constraint, st.just("regex"), texts),
    st.booleans(),
)
logprobs = st.builds(
    TokenLogprob, st.integers(0, 9), st.binary(max_size=4), floats, st.just(((1, b"\xff\xfe", -0.5), (2, b"", -9999.0)))
)
events = (
    st.builds(Started, texts, st.integers(0), st.integers(0))
    | st.builds(Progress, texts, st.integers(0), st.integers(0), st.integers(0), floats)
    | st.builds(Delta, texts, texts, st.integers(0), st.lists(logprobs, max_size=2).map(tuple))
    | st.builds(Finished, texts, st.sampled_from(FinishReason), st.integers(0), st.builds(Timings, st.integers(0)))
    | st.builds(Failed, texts, st.just({"code": "x", "details": {"n": 1}}))
)


@given(st.builds(Submit, requests) | st.builds(Cancel, texts) | st.just(Load("/m.gguf", LoadOptions(n_ctx=4096))))
def test_commands_arrive_as_they_were_sent(command: Submit | Cancel | Load) -> None:
    frame = encode_command(command)
    assert frame_length(frame[:4]) == len(frame) - 4
    assert decode_command(frame[4:]) == command


@given(st.builds(Happened, events) | st.just(Beat(0.5, 1, 2)) | st.just(Loading("reading", 0.25)))
def test_replies_arrive_as_they_were_sent(reply: Happened | Beat | Loading) -> None:
    assert decode_reply(encode_reply(reply)[4:]) == reply


def test_frames_follow_each_other_until_the_stream_ends() -> None:
    stream = io.BytesIO(encode_command(Cancel("a")) + encode_command(Cancel("b")))
    bodies = [read_frame(stream), read_frame(stream)]
    assert [decode_command(body) for body in bodies if body] == [Cancel("a"), Cancel("b")]
    assert read_frame(stream) is None


@pytest.mark.parametrize("cut", [1, 3, 5, 10])
def test_a_stream_that_ends_inside_a_frame_is_told(cut: int) -> None:
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(encode_command(Cancel("a"))[:cut]))


def test_a_frame_of_absurd_length_is_not_read() -> None:
    with pytest.raises(EOFError, match="claims"):
        read_frame(io.BytesIO(b"\xff\xff\xff\xff" + b"x" * 100))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"m":{"kind":"format_disk"}}', b'{"m":{"kind":"cancel"}}'])
def test_what_is_no_command_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError):
        decode_command(body)
