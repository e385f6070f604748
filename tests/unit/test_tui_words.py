"""Text on its way to the screen, numbers in words, the status line, commands."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from fireside import wording
from fireside.account import Account
from fireside.conversations.tree import Conversation
from fireside.progress import Prefill
from fireside.tui import commands
from fireside.tui.chat_settings import ChatSettings
from fireside.tui.reply import Loading
from fireside.tui.screen_text import ScreenText, on_one_line, on_screen
from fireside.tui.state import quant_in
from fireside.tui.status_line import Phase, StatusView, gauge, status_line
from fireside.tui.widgets.waiting import loading, reading

CONTROL = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x1b\\",
    "\x1bPq\x1b\\",
    "\x9b2J",
    "\u202e",
    "\u2066",
    "\u2028",
]
TEXT = ["text", "\n", "\t", "\r\n", "\ud800", "é", "日本", "\ufeff", "[bold]"]
HOSTILE = st.lists(st.sampled_from(CONTROL + TEXT), max_size=12).map("".join)


@given(HOSTILE, st.integers(1, 5))
def test_no_control_survives_and_cuts_do_not_matter(text: str, size: int) -> None:
    whole = on_screen(text)
    stream = ScreenText()
    assert "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) == whole
    for char in whole:
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    whole.encode()


def test_text_stays() -> None:
    assert on_screen("a\tb\nc [red] \x1b[1mbold\x1b[0m é") == "a\tb\nc [red] bold é"
    assert on_one_line(" a\n\tb ") == "a b"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (wording.count(812), "812"),
        (wording.count(3120), "3,120"),
        (wording.count(12_345), "12.3k"),
        (wording.count(131_072), "131k"),
        (wording.short_count(3120), "3.1k"),
        (wording.short_count(8192), "8k"),
        (wording.short_count(131_072), "128k"),
        (wording.size(98_000_000), "98 MB"),
        (wording.size(1_120_000_000), "1.1 GB"),
        (wording.size(16_000_000_000), "16 GB"),
        (wording.duration(0.42), "0.4 s"),
        (wording.duration(80), "1 min 20 s"),
        (wording.duration(840), "14 min"),
        (wording.duration(7500), "2 h 5 min"),
        (wording.rate(41.84), "41.8 tok/s"),
        (wording.plural(1, "line"), "1 line"),
    ],
)
def test_numbers_in_words(words: str, expected: str) -> None:
    assert words == expected


def test_the_why_line() -> None:
    account = Account(
        model="m",
        ending="length",
        cached=1024,
        prefilled=31,
        generated=212,
        rate=41.8,
        exact=True,
        drafted=40,
        accepted=31,
        draft_won_ms=2400.0,
        load_ms=1500.0,
        seed=7,
    )
    assert wording.why(account) == [
        "m",
        "loaded in 2 s",
        "1,024 from cache + 31 read",
        "212 tokens at 41.8 tok/s",
        "31 of 40 drafts accepted, 2 s won",
        "exact",
        "length limit reached",
    ]
    lost = Account("m", drafted=8, draft_won_ms=-300.0)
    assert wording.why(lost) == ["m", "0 of 8 drafts accepted, 0.3 s lost"]
    off = {"speculation": "off: what this model remembers cannot be taken back token by token"}
    never = Account.of({}, off, model="m", asked="m", ending="stop")
    assert wording.why(never) == ["m", "no drafts: what this model remembers cannot be taken back token by token"]
    stopped = Account("m", "stopped", generated=5, counted_here=True, rate=9.0, exact=False)
    assert wording.why(stopped) == ["m", "≈5 tokens at ≈9.0 tok/s", "lossless up to rounding", "stopped by you"]


@given(st.lists(st.text("abc ", min_size=1, max_size=12), max_size=8), st.integers(12, 40))
def test_packing_breaks_between_parts_only(parts: list[str], width: int) -> None:
    lines = wording.pack(parts, width)
    assert all(len(line) <= width for line in lines)
    assert " · ".join(lines) == " · ".join(parts)


VIEWS = st.builds(
    StatusView,
    phase=st.sampled_from(Phase),
    model=st.sampled_from(["", "smollm2-135m-instruct"]),
    used=st.integers(0, 9000),
    n_ctx=st.sampled_from([0, 8192]),
    rate=st.none() | st.floats(0.1, 900),
    cached=st.none() | st.integers(0, 8192),
    memory=st.sampled_from([0, 190_000_000]),
    memory_total=st.sampled_from([0, 16_000_000_000]),
    unload_in=st.none() | st.floats(0, 9000),
    deterministic=st.booleans(),
    queued=st.integers(0, 3),
)


@given(VIEWS, st.integers(20, 160))
def test_the_status_line_fits_and_says_first_what_goes_on(view: StatusView, width: int) -> None:
    line = status_line(view, [("f1", "help"), ("^p", "commands")], width)
    assert line.cell_length <= width
    assert line.plain[2:].startswith(view.phase.value[: width - 3])


def test_the_status_line_has_everything_where_there_is_room() -> None:
    view = StatusView(
        Phase.READY,
        "m",
        "Q4_K",
        used=3100,
        known=1024,
        n_ctx=8192,
        rate=41.8,
        cached=1024,
        memory=190_000_000,
        memory_total=16_000_000_000,
        unload_in=840.0,
        deterministic=True,
        queued=1,
    )
    line = status_line(view, [("f1", "help")], 160).plain
    for part in ("ready", "m", "3.1k/8k", "41.8 tok/s", "1k cached", "190 MB of 16 GB", "unloads in 14 min", "f1 help"):
        assert part in line


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(1, 30), st.integers(0, 10_000))
def test_the_gauge_is_as_wide_as_it_says(used: int, total: int, width: int, cached: int) -> None:
    known, full, empty = gauge(used, total, width, min(cached, used))
    assert len(known + full + empty) == width
    assert bool(known + full) == bool(used)
    assert not known or cached


@pytest.mark.parametrize(
    ("description", "quant"),
    [
        ("qwen2 1.5B Q4_K - Medium", "Q4_K - Medium"),
        ("llama 135M Q4_1", "Q4_1"),
        ("gemma3 270M BF16", "BF16"),
        ("llama 70B IQ2_XXS - 2.0625 bpw", "IQ2_XXS"),
        ("something", ""),
    ],
)
def test_the_quantization_is_read_from_the_description(description: str, quant: str) -> None:
    assert quant_in(description) == quant


@pytest.mark.parametrize("width", [30, 44, 60, 100])
def test_the_waiting_line_fits_and_draws_the_cached_part_apart(width: int) -> None:
    line = reading(Prefill(4096, 2048, 3120, 9000.0), width)
    assert line.cell_length <= width
    assert line.plain.strip("▒").startswith("▓")
    assert "3,120/4,096" in line.plain
    assert loading(Loading("qwen", "reading", 0.4), width).cell_length <= width


def test_unknown_steps_and_no_fraction() -> None:
    assert loading(Loading("m", "\x1b[1mnew", None), 60) == Content("loading m · new")


def test_commands() -> None:
    assert commands.parse("hello /new") is None
    assert commands.parse("/usr/bin/env says") is None
    assert commands.parse("// comment") is None
    for line, name, argument in [("/model  Qwen ", "model", "Qwen"), (" /NEW", "new", ""), ("exit", "quit", "")]:
        invocation = commands.parse(line)
        assert invocation is not None
        assert (invocation.command.name, invocation.argument) == (name, argument)


@pytest.mark.parametrize("line", ["/modle x", "/new now", "/x"])
def test_bad_commands(line: str) -> None:
    with pytest.raises(commands.BadCommandError):
        commands.parse(line)


def test_arguments_of_commands() -> None:
    assert commands.number("", 0, 2, "It") is None
    assert commands.number("0.5", 0, 2, "It") == 0.5
    assert commands.whole_number("7", "It") == 7
    for bad in ("x", "3", "nan", "-1"):
        with pytest.raises(commands.BadCommandError):
            commands.number(bad, 0, 2, "It")
    for bad in ("x", "-1", "1.5", str(2**64)):
        with pytest.raises(commands.BadCommandError):
            commands.whole_number(bad, "It")


def test_request_bodies() -> None:
    conversation = Conversation()
    conversation.ask("q")
    settings = ChatSettings(model="m", temperature=0.0, seed=5, deterministic=True)
    body = settings.body(conversation, saves=True)
    assert body["messages"] == [{"role": "user", "content": "q"}]
    assert (body["model"], body["temperature"], body["seed"], body["stream"]) == ("m", 0.0, 5, True)
    assert body["fireside"] == {
        "deterministic": True,
        "save": True,
        "draft_runs": True,
        "conversation": conversation.id,
    }
    assert body["return_progress"] is True
    fresh = {ChatSettings(seed=5).body(conversation, saves=True, new_seed=True)["seed"] for _ in range(8)}
    assert fresh != {5}
    plain = ChatSettings().body(conversation, saves=False)
    assert "temperature" not in plain
    assert plain["fireside"] == {"save": False, "draft_runs": True, "conversation": conversation.id}
    assert ChatSettings.of_json({**settings.to_json(), "unknown": 1}) == settings
    assert ChatSettings().to_json() == {}


def test_where_the_known_part_of_a_prompt_was_and_what_it_won() -> None:
    account = Account(cached=1000, cached_disk=600, cached_ram=300, prefilled=100, read_rate=50.0)
    assert wording.why(account) == ["100 from cache + 300 from RAM + 600 from disk + 100 read", "20 s won"]
    few = Account(cached=1000, cached_disk=1000, prefilled=3, cache_reason="The system prompt changed.")
    assert wording.why(few) == ["1,000 from disk + 3 read", "The system prompt changed"]
    assert wording.why(few, 100.0)[1] == "10 s won"
    assert wording.why(Account(cached=5, cached_ram=9, cached_disk=9, prefilled=0)) == ["5 from disk + 0 read"]
