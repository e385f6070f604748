"""The small parts of the server, each alone."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine import errors
from fireside_engine.core.events import Delta, Failed, Started
from fireside_engine.server.activity import Activity
from fireside_engine.server.crashes import CrashRecord
from fireside_engine.server.environment import worker_environment
from fireside_engine.server.inbox import Inbox, weight
from fireside_engine.server.logs import Discreet
from fireside_engine.server.responses import error_body, error_response
from fireside_engine.server.security import Access, origin_allowed
from fireside_engine.server.settings import Settings
from fireside_engine.server.stderr_tail import StderrTail
from fireside_engine.server.tenants import read_keys

# --- inbox


@given(st.lists(st.integers(0, 400), max_size=40), st.lists(st.booleans(), max_size=80))
def test_an_inbox_hands_out_in_order_and_never_holds_much_more_than_its_limit(
    sizes: list[int], takes: list[bool]
) -> None:
    overflows: list[bool] = []
    inbox = Inbox(1000, lambda: overflows.append(True))
    put, taken, held = 0, [], 0
    plan = iter(takes)
    for index, size in enumerate(sizes):
        item = Delta("r", "x" * size, n_tokens=index)
        inbox.put(item)
        if not overflows:
            put, held = index + 1, held + weight(item)
        assert held <= 1000 + weight(item)
        if next(plan, False) and (got := inbox.take()) is not None:
            taken.append(got)
            held -= weight(got)
    while (got := inbox.take()) is not None:
        taken.append(got)
    assert len(overflows) <= 1
    deltas = [item.n_tokens for item in taken if isinstance(item, Delta)]
    assert deltas == list(range(len(deltas)))
    if overflows:
        assert isinstance(taken[-1], Failed)
        assert taken[-1].error["code"] == "overloaded"
    else:
        assert len(deltas) == put == len(sizes)


async def _get_and_put() -> list[object]:
    inbox = Inbox(1000, lambda: None)
    getting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(Started("r", 1, 0))
    first = await getting
    giving_up = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    giving_up.cancel()
    await asyncio.gather(giving_up, return_exceptions=True)
    inbox.close(Failed("r"))
    inbox.put(Started("late", 1, 0))
    return [first, await inbox.get(), inbox.take()]


def test_a_waiting_consumer_wakes_and_one_that_gave_up_loses_nothing() -> None:
    first, second, third = asyncio.run(_get_and_put())
    assert isinstance(first, Started)
    assert isinstance(second, Failed)
    assert third is None


# --- crashes

SETTINGS = Settings()


def test_starts_wait_longer_after_each_crash_in_a_row_until_a_request_is_answered() -> None:
    record = CrashRecord(SETTINGS)
    assert record.wait(0.0) == 0
    waits = []
    for crash in range(8):
        record.crashed(100.0 * crash, loading=False)
        waits.append(record.wait(100.0 * crash))
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30]
    assert record.wait(720.0) == 10
    assert record.forbidden(720.0) == 0
    record.answered()
    assert record.wait(720.0) == 0


def test_a_model_that_crashes_while_loading_is_left_alone_for_a_while() -> None:
    record = CrashRecord(SETTINGS)
    for now in (0.0, 10.0, 20.0):
        assert record.forbidden(now) == 0
        record.crashed(now, loading=True)
    assert record.forbidden(20.0) == 300
    assert record.forbidden(319.0) == 1
    assert record.forbidden(320.0) == 0
    assert record.wait(320.0) == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=30))
def test_only_quick_successions_of_load_crashes_forbid(steps: list[tuple[float, bool]]) -> None:
    record, now, recent = CrashRecord(SETTINGS), 0.0, []
    for pause, loads in steps:
        now += pause
        if record.forbidden(now):
            return
        if loads:
            recent.clear()
            record.loaded()
        else:
            recent.append(now)
            record.crashed(now, loading=True)
            quick = len(recent) >= 3 and now - recent[-3] <= 60
            assert bool(record.forbidden(now)) == quick


# --- the last words of a worker


@given(st.lists(st.binary(max_size=300), max_size=50))
def test_the_tail_keeps_the_newest_lines_and_nothing_that_moves_a_cursor(chunks: list[bytes]) -> None:
    tail = StderrTail(limit=256)
    for chunk in chunks:
        tail.feed(chunk)
    lines = tail.lines(5)
    assert len(lines) <= 5
    assert sum(map(len, lines)) <= 256
    assert all(line.strip() for line in lines)
    assert not any(ord(char) < 32 and char != "\t" for line in lines for char in line)


def test_the_tail_shows_the_end() -> None:
    tail = StderrTail(limit=100)
    for number in range(100):
        tail.feed(f"line {number}\n\x1b[31mred\x1b[0m\n".encode())
    assert tail.lines(2) == ["line 99", "red"]


# --- environment, activity, log


def test_workers_are_told_no_secrets() -> None:
    told = {
        "HF_TOKEN": "a", "OPENAI_API_KEY": "b", "AWS_SECRET_ACCESS_KEY": "c", "FIRESIDE_API_KEY": "d", "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0", "FIRESIDE_HOME": "/h", "my_password": "e",
    }  # fmt: skip
    kept = worker_environment(told, Path("/cache"))
    assert kept == {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "FIRESIDE_HOME": "/h",
        "GGML_NO_BACKTRACE": "1",
        "NUMBA_CACHE_DIR": str(Path("/cache/numba")),
        "GOMP_SPINCOUNT": "10000",
        "MALLOC_ARENA_MAX": "2",
    }
    assert worker_environment({"GOMP_SPINCOUNT": "7"}, Path("/cache"))["GOMP_SPINCOUNT"] == "7"
    assert worker_environment({"NUMBA_CACHE_DIR": "/own"}, Path("/cache"))["NUMBA_CACHE_DIR"] == "/own"


def test_idle_time_counts_from_the_end_of_the_last_work() -> None:
    now = [0.0]
    activity = Activity(clock=lambda: now[0])
    now[0] = 5
    assert activity.idle_for() == 5
    activity.begin()
    now[0] = 9
    assert activity.idle_for() == 0
    activity.end()
    now[0] = 10
    assert activity.idle_for() == 1
    activity.begin()
    activity.end(counts=False)
    assert activity.idle_for() == 1


def test_the_log_withholds_what_an_exception_says() -> None:
    formatter = Discreet()
    for error, shown in ((ValueError("my prompt"), False), (errors.InternalError("defect"), True)):
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), (type(error), error, None))
        text = formatter.format(record)
        assert type(error).__name__ in text
        assert (str(error) in text) == shown


# --- errors


def _all_errors(kind: type[errors.FiresideError] = errors.FiresideError) -> list[type[errors.FiresideError]]:
    return [
        kind,
        *(
            leaf
            for child in kind.__subclasses__()
            if child.__module__ == errors.__name__
            for leaf in _all_errors(child)
        ),
    ]


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_and_the_one_shape(kind: type[errors.FiresideError]) -> None:
    error = kind("It failed.", hint="Do this.", n_ctx=5, message_of_nobody=1, retry_after=3)
    response, body = error_response(error), error_body(error)["error"]
    assert response.status_code == kind.status
    assert response.headers["retry-after"] == "3"
    assert (body["message"], body["code"], body["hint"], body["n_ctx"]) == ("It failed.", kind.code, "Do this.", 5)
    expected = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit", 503: "unavailable_error"}
    if kind is errors.ContextExceeded:
        assert body["type"] == "exceed_context_size_error"
    else:
        assert body["type"] == expected.get(kind.status, body["type"])


def test_sdks_do_not_repeat_by_themselves_what_killed_a_worker() -> None:
    assert error_response(errors.WorkerCrashed("It died.")).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in error_response(errors.Overloaded("Full.")).headers


# --- who may call


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost", "http://localhost:3000", "https://127.0.0.1:8443", "http://[::1]:5173",
        "vscode-webview://1a2b3c", "vscode-file://vscode-app", "app://obsidian.md", "tauri://localhost",
        "http://tauri.localhost", "file://", "HTTP://LOCALHOST:3000",
    ],
)  # fmt: skip
def test_pages_of_this_machine_and_webviews_of_editors_may_call(origin: str) -> None:
    assert origin_allowed(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.com", "null", "", "http://localhost.evil.com", "http://evil.com/localhost", "http://localhost@evil.com",
        "http://127.0.0.1.evil.com", "http://localhost:3000.evil.com", "http://evil.com#http://localhost", "https://localhost:x",
        "http://localhost evil", "chrome-extension://abc", "http://192.168.1.5", "http://127.0.0.1:80\n",
    ],
)  # fmt: skip
def test_other_pages_may_not(origin: str) -> None:
    assert not origin_allowed(origin)


def test_host_names() -> None:
    access = Access(port=11555, token="t")
    for good in ("127.0.0.1:11555", "localhost:11555", "LOCALHOST:11555", "[::1]:11555"):
        assert access.host_allowed(good), good
    for bad in (
        "", "127.0.0.1", "localhost", "127.0.0.1:80", "evil.com", "evil.com:11555", "127.0.0.1.evil.com:11555",
        "x.local:11555", "10.0.0.5:11555", "localhost:11555:11555", "localhost.:11555", "::1:11555", "[::1]",
        "localhost:", "0.0.0.0:11555",
    ):  # fmt: skip
        assert not access.host_allowed(bad), bad
    assert Access(port=80, token="t").host_allowed("localhost")
    named = Access(port=5, token="t", host="192.168.1.5", keys=read_keys("k"))
    assert named.host_allowed("192.168.1.5:5")
    assert not named.host_allowed("192.168.1.6:5")
    assert Access(port=5, token="t", host="0.0.0.0", keys=read_keys("k")).host_allowed("my-name:5")


@given(st.text(max_size=40))
def test_no_other_host_name_passes(value: str) -> None:
    access = Access(port=11555, token="t")
    known = {"127.0.0.1:11555", "localhost:11555", "[::1]:11555"}
    assert access.host_allowed(value) == (value.lower() in known)


def test_what_a_worker_warns_of_is_told_once_it_is_complete() -> None:
    tail = StderrTail()
    assert tail.warnings(b"llama_x: loading\nWARNING fireside_engine.kv_cache.health: Writing the KV cache is o") == []
    assert tail.warnings(b"ff: No space\x1b[2J left\nINFO fireside_engine.x: fine\n") == [
        "WARNING fireside_engine.kv_cache.health: Writing the KV cache is off: No space left"
    ]
    assert tail.warnings(b"Traceback\nERROR other: no\n") == []
