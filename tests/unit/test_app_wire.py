"""The reading of HTTP and event streams: the result depends on the bytes, never on how they were cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.wire import Endpoint, EngineFailure, EventParser, Exchange, ResponseParser, encode_request

HERE = Endpoint("127.0.0.1", 1)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=200)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes, over and over."""
    cut, at, number = [], 0, 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        cut.append(data[at : at + size])
        at, number = at + size, number + 1
    return cut


def chunked(body: bytes, sizes: list[int]) -> bytes:
    chunks = b"".join(b"%X;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces(body, sizes))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def with_length(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-LENGTH: %d\r\n\r\n" % len(body) + body


def events(*values: object, kind: str = "text/event-stream", done: bool = True) -> bytes:
    text = "".join(f": ping\n\ndata: {json.dumps(value)}\n\n" for value in values) + "data: [DONE]\n\n" * done
    return chunked(text.encode(), [33]).replace(b"OK\r\n", f"OK\r\nContent-Type: {kind}\r\n".encode())


@given(st.binary(max_size=300), cuts, cuts)
def test_a_body_is_the_same_however_it_is_framed_and_cut(body: bytes, chunk_sizes: list[int], sizes: list[int]) -> None:
    for framed in (chunked(body, chunk_sizes), with_length(body), b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(body)):
        parser = ResponseParser()
        assert b"".join(parser.feed(piece) for piece in pieces(framed, sizes)) == body
        assert parser.complete
        assert parser.status == 200


@given(st.binary(max_size=100), cuts)
def test_a_body_without_a_length_ends_with_the_connection(body: bytes, sizes: list[int]) -> None:
    parser = ResponseParser()
    assert b"".join(parser.feed(piece) for piece in pieces(b"HTTP/1.0 200 OK\r\n\r\n" + body, sizes)) == body
    assert not parser.complete
    parser.feed(b"")
    assert parser.complete


@given(st.data())
def test_a_body_that_breaks_off_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    framed = data.draw(st.sampled_from([chunked(b"some text", [4]), with_length(b"some text")]))
    # Without its last line end a chunked body is already whole: nothing follows the empty chunk.
    end = data.draw(st.integers(0, len(framed) - (3 if b"chunked" in framed else 1)))
    parser = ResponseParser()
    with pytest.raises(EngineFailure) as caught:
        parser.feed(framed[:end])
        parser.feed(b"")
    assert caught.value.code == EngineFailure.GONE


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    with pytest.raises(EngineFailure) as caught:
        ResponseParser().feed(data)
    assert caught.value.code == EngineFailure.UNREACHABLE


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=20), max_size=6), st.booleans(), cuts)
def test_events_are_the_same_however_they_are_cut(texts: list[str], crlf: bool, sizes: list[int]) -> None:
    stream = "".join(f": comment\nid: 3\ndata: {text}\n\n" for text in texts)
    data = (stream.replace("\n", "\r\n") if crlf else stream).encode()
    parser = EventParser()
    assert [event for piece in pieces(data, sizes) for event in parser.feed(piece)] == texts


def test_data_of_several_lines_is_one_event() -> None:
    assert EventParser().feed(b"data: a\ndata:b\n\ndata\n\n") == ["a\nb"]


@given(cuts)
def test_a_stream_gives_its_chunks_and_is_done(sizes: list[int]) -> None:
    exchange = Exchange(HERE, "POST", "/", {})
    chunks = [{"n": 1}, {"n": 2, "text": "ü\ud83d"}]
    got = [item for piece in pieces(events(*chunks), sizes) if not exchange.done for item in exchange.feed(piece)]
    assert got == chunks
    assert exchange.done


@given(cuts)
def test_chunks_before_an_error_are_not_lost(sizes: list[int]) -> None:
    exchange = Exchange(HERE, "POST", "/", {})
    got = []
    with pytest.raises(EngineFailure, match="died") as caught:
        for piece in pieces(events({"n": 1}, {"error": {"message": "It died.", "code": "worker_crashed"}}), sizes):
            for item in exchange.feed(piece):
                got.append(item)
    assert got == [{"n": 1}]
    assert exchange.done
    assert caught.value.code == "worker_crashed"


def test_a_stream_without_its_end_mark_is_broken() -> None:
    exchange = Exchange(HERE, "POST", "/", {})
    with pytest.raises(EngineFailure) as caught:
        list(exchange.feed(events({"n": 1}, done=False)))
    assert caught.value.code == EngineFailure.GONE


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b'{"error":{"message":"No such model.","code":"model_not_found"}}', "No such model."),
        (502, b"Bad Gateway", "Bad Gateway"),
        (500, b"", "HTTP 500"),
        (400, b'{"error":"in words"}', "in words"),
    ],
)
def test_an_error_answer_keeps_its_words(status: int, body: bytes, message: str) -> None:
    exchange = Exchange(HERE, "GET", "/")
    with pytest.raises(EngineFailure) as caught:
        list(exchange.feed(with_length(body).replace(b"200", b"%d" % status)))
    assert (caught.value.message, caught.value.status) == (message, status)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b""])
def test_an_answer_that_is_no_object_is_not_our_engines(body: bytes) -> None:
    with pytest.raises(EngineFailure) as caught:
        list(Exchange(HERE, "GET", "/").feed(with_length(body)))
    assert caught.value.code == EngineFailure.UNREACHABLE


def test_the_token_goes_only_where_it_was_given() -> None:
    assert b"Authorization" not in encode_request(HERE, "GET", "/health")
    assert b"Authorization: Bearer t\r\n" in encode_request(HERE._replace(token="t"), "GET", "/health")


def test_a_request_is_compact_and_counts_bytes() -> None:
    head, _, body = encode_request(Endpoint("::1", 8), "POST", "/x", {"a": "ü", "b": 1}).partition(b"\r\n\r\n")
    assert body == '{"a":"ü","b":1}'.encode()
    assert b"Content-Length: %d" % len(body) in head
    assert b"Host: [::1]:8\r\n" in head
