"""Which tier answers, and why: pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.events import TokenLogprob
from fireside_engine.core.request import ChatPrompt, Constraint, Message, Request
from fireside_engine.core.routing.decision import Past, Situation, decide
from fireside_engine.core.routing.doubt import PEEK, STRIDE, Doubt, doubt_of, uncertainty
from fireside_engine.core.routing.features import features_of, kind_of
from fireside_engine.core.routing.memory import MOST, Turn, TurnMemory
from fireside_engine.core.routing.price import Known, Rates, answer_length, first_rates, price
from fireside_engine.core.routing.proof import read_proof, thresholds_for
from fireside_engine.core.routing.roster import CAUTIOUS, MODES, Mode, Roster, Rule, Thresholds, Tier
from fireside_engine.core.routing.stats import summed
from fireside_engine.errors import InvalidRequest

ROSTER = Roster((Tier("small", "s1", n_ctx=4096), Tier("middle", "m1", n_ctx=8192), Tier("large", "l1", n_ctx=32768)))
RATES = (Rates(90.0, 30.0, 1.0, 1), Rates(60.0, 20.0, 2.0, 1), Rates(30.0, 10.0, 3.0, 1))
FREE = tuple(price(rates, Known(100), 100) for rates in RATES)


def chat(*turns: str, **fields: object) -> Request:
    """user, assistant, user, ..."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))  # type: ignore[arg-type]
    return Request("r", ChatPrompt(messages, **fields))  # type: ignore[arg-type]


def situation(request: Request | None = None, mode: Mode = "balanced", **changes: object) -> Situation:
    found = Situation(ROSTER, mode, features_of(request or chat("hello")), FREE, CAUTIOUS[mode], "no proof yet")
    return replace(found, **changes)  # type: ignore[arg-type]


# --- decision


def test_the_cheapest_tier_begins_and_its_doubt_is_looked_at() -> None:
    found = decide(situation())
    assert (found.tier, found.watch) == (0, True)
    assert "no proof yet" in found.reason


def test_exact_is_the_large_tier_alone() -> None:
    found = decide(situation(mode="exact"))
    assert (found.tier, found.watch, found.tolerance) == (2, False, 0.0)


def test_a_forced_tier_goes_before_all_else() -> None:
    assert decide(situation(mode="exact", forced="Middle")).tier == 1
    with pytest.raises(ValueError, match="no tier"):
        decide(situation(forced="huge"))


def test_rules_of_the_user_decide() -> None:
    rules = (Rule("large", contains="Invoice"), Rule("small", kind="code"))
    found = decide(situation(last_words="this INVOICE, please", rules=rules))
    assert (found.tier, found.watch) == (2, False)
    assert "rule 1" in found.reason
    assert decide(situation(chat("write a python function"), rules=rules)).reason.startswith("small, by rule 2")
    assert decide(situation(rules=(Rule("large", longer_than=10**6),))).tier == 0


tiers = st.integers(0, 2)


@settings(max_examples=150, deadline=None)
@given(
    tiers,
    st.none() | tiers,
    st.sampled_from(MODES),
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e3), st.integers(0, 3000)), min_size=3, max_size=3),
    st.floats(0, 1),
)
def test_a_loop_of_tools_never_goes_down(
    before: int, in_loop: int | None, mode: Mode, speeds: list[tuple[float, float, int]], threshold: float
) -> None:
    call = Message("assistant", tool_calls=({"function": {"name": "f"}},))
    prompt = ChatPrompt((Message("user", "do it"), call, Message("tool", "done")))
    prices = tuple(price(Rates(read, write, 1.0), Known(3100, ram=ram), 100) for read, write, ram in speeds)
    past = Past(before, in_loop)
    now = situation(Request("r", prompt), mode, prices=prices, past=past, thresholds=Thresholds(threshold, 0.1))
    assert decide(now).tier >= (2 if in_loop is None else in_loop)
    assert decide(replace(now, past=None)).tier == 2, "a loop whose beginning is not known"


def test_a_chain_of_schemas_never_goes_down() -> None:
    request = replace(chat("a", "{}", "b"), constraint=Constraint("json_object"))
    assert decide(situation(request, past=Past(1, None, constrained=True))).tier == 1
    assert decide(situation(request, past=Past(1, None, constrained=False))).tier == 0


def test_a_change_of_tier_has_to_earn_its_prefill() -> None:
    """2,000 tokens of KV lie with the large tier; the small one would have to read them, to save two seconds."""
    large, small = Rates(read=30.0, write=10.0, load=0.0), Rates(read=90.0, write=30.0, load=0.0)
    roster = Roster((ROSTER.tiers[0], ROSTER.tiers[2]))
    n = 30
    prices = (price(small, Known(2050), n), price(large, Known(2050, ram=2000), n))
    now = situation(chat("a", "b", "c"), roster=roster, prices=prices, past=Past(1))
    found = decide(now)
    assert (found.tier, found.watch) == (1, False)
    assert "stayed with large: small would read 2,050 tokens in 22.8 s to save 2.0 s" in found.reason
    long_answer = (price(small, Known(2050), 600), price(large, Known(2050, ram=2000), 600))
    assert decide(replace(now, prices=long_answer)).tier == 0
    known = (price(small, Known(2050, ram=2000), n), price(large, Known(2050, ram=2000), n))
    assert decide(replace(now, prices=known)).tier == 0


def test_a_more_capable_tier_that_is_no_slower_is_taken() -> None:
    prices = (price(RATES[0], Known(3000, loaded=False), 20), FREE[1], price(RATES[2], Known(3000, ram=2990), 20))
    found = decide(situation(prices=prices))
    assert found.tier == 2
    assert "no slower" in found.reason
    guessed = (*prices[:2], replace(prices[2], guess=True))
    assert decide(situation(prices=guessed)).tier == 0


def test_a_threshold_of_zero_leaves_the_small_tier_out() -> None:
    thresholds = Thresholds(0.5, 0.1, (("code", 0.0),))
    now = situation(chat("Write a Python function that sorts."), thresholds=thresholds)
    assert (decide(now).tier, decide(now).watch) == (2, False)
    assert decide(situation(chat("Why is the sky blue?"), thresholds=thresholds)).tier == 0


def test_a_prompt_that_is_too_long_for_a_tier_goes_above_it() -> None:
    features = replace(features_of(chat("x")), n_tokens=5000)
    assert decide(situation(features=features)).tier == 1


# --- features


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write a Python function that sorts a list.", "code"),
        ("Extract all dates from this text: ...", "extraction"),
        ("Translate this into German: good morning", "rewriting"),
        ("Classify the sentiment of this review.", "classification"),
        ("What is 12 * 7?", "arithmetic"),
        ("Why is the sky blue?", "open"),
    ],
)
def test_kinds_of_prompts(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@given(st.text(max_size=300))
def test_any_text_has_a_kind(text: str) -> None:
    features = features_of(chat(text))
    assert features.n_tokens >= 1
    assert 0.0 <= features.foreign <= 1.0


# --- doubt


def entry(*p: float) -> TokenLogprob:
    import math

    top = tuple((i, b"", math.log(max(each, 1e-9))) for i, each in enumerate(p))
    return TokenLogprob(0, b"", top[0][2], top)


def test_uncertainty_is_the_margin() -> None:
    assert uncertainty(entry(1.0, 0.0)) == pytest.approx(0.0, abs=1e-6)
    assert uncertainty(entry(0.5, 0.5)) == pytest.approx(1.0)
    assert uncertainty(entry(0.6, 0.2)) == pytest.approx(0.6)


@given(st.lists(st.floats(0.5, 1.0), max_size=80), st.floats(0.0, 1.0))
def test_looking_on_the_way_or_at_the_end_decides_the_same(p: list[float], threshold: float) -> None:
    """So a threshold can be chosen from answers that were written to their end."""
    entries = [entry(each, 1.0 - each) for each in p]
    doubt, stopped = Doubt(), False
    for i, each in enumerate(entries):
        told = doubt.push(each)
        assert told == (i + 1 >= PEEK and (i + 1 - PEEK) % STRIDE == 0)
        stopped = stopped or (told and doubt.value > threshold)
    stopped = stopped or doubt.end() > threshold
    assert stopped == (doubt_of(entries) > threshold)
    assert 0.0 <= doubt.value <= 1.0


# --- price


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 1000))
def test_what_is_known_is_cheaper_and_memory_is_cheaper_than_disk(n: int, ram: int, disk: int, answer: int) -> None:
    ram, disk = min(ram, n), min(disk, n - min(ram, n))
    nothing = price(RATES[0], Known(n), answer)
    some = price(RATES[0], Known(n, disk=ram + disk), answer)
    best = price(RATES[0], Known(n, ram=ram + disk), answer)
    assert best.total_s <= some.total_s <= nothing.total_s + 1e-9
    assert best.prefill_n >= 1, "logits are not kept, so one token is always computed"


def test_rates_are_learned_and_a_faster_answer_is_believed_sooner() -> None:
    first = first_rates(10**9)
    known = first.learn(50.0, 20.0, None)
    assert (known.read, known.write, known.n) == (50.0, 20.0, 1)
    assert known.learn(None, 40.0, 2.0).write == 30.0
    assert known.learn(None, 10.0, None).write == 18.0
    assert answer_length(30, [100, 200, 300]) == 30
    assert answer_length(None, [100, 200, 300]) == 200


# --- memory


def test_turns_are_known_by_what_came_before_their_answer() -> None:
    memory, ids = TurnMemory(), ROSTER.identities
    first = chat("hi").prompt
    assert isinstance(first, ChatPrompt)
    memory.add("", ids, first, Turn(2, False, 40))
    later = chat("hi", "any answer, however it came back", "go on").prompt
    assert isinstance(later, ChatPrompt)
    assert memory.past("", ids, later) == Past(2, None, False)
    assert memory.past("other", ids, later) is None
    assert memory.past("", ("x",), later) is None
    assert memory.in_kv("", ids, later, 2) == 40
    assert memory.in_kv("", ids, later, 0) == 0
    edited = chat("hello", "any answer", "go on").prompt
    assert isinstance(edited, ChatPrompt)
    assert memory.past("", ids, edited) is None


def test_the_highest_tier_of_a_loop_is_remembered() -> None:
    memory, ids = TurnMemory(), ROSTER.identities
    call = Message("assistant", tool_calls=({"function": {"name": "f", "arguments": {}}},))
    messages = [Message("user", "go")]
    for tier in (0, 2, 1):
        memory.add("", ids, ChatPrompt(tuple(messages)), Turn(tier, False, 10))
        messages += [call, Message("tool", "ok")]
    past = memory.past("", ids, ChatPrompt(tuple(messages)))
    assert past is not None
    assert (past.tier, past.in_loop) == (1, 2)


def test_memory_is_bounded() -> None:
    memory = TurnMemory()
    for i in range(MOST + 10):
        memory.add("", (), ChatPrompt((Message("user", str(i)),)), Turn(0, False, 1))
    assert len(memory._turns) == MOST


# --- proof


PROOF = {
    "version": 1,
    "identities": ["a", "b"],
    "made": "2026-11-24",
    "n": 80,
    "thresholds": {"balanced": {"threshold": 0.4, "tolerance": 0.2, "kinds": {"code": 0.1, "unheard-of": 0.9}}},
    "more": {"is": "kept"},
}


def test_a_proof_sets_thresholds_for_its_own_roster_only() -> None:
    proof = read_proof(PROOF)
    assert proof.fits(Roster((Tier("x", "a"), Tier("y", "b"))))
    assert not proof.fits(Roster((Tier("x", "a"), Tier("y", "c"))))
    found, grounds = thresholds_for("balanced", proof)
    assert (found.of("open"), found.of("code"), found.tolerance) == (0.4, 0.1, 0.2)
    assert "80 prompts" in grounds
    assert thresholds_for("fast", proof)[0] == CAUTIOUS["fast"]
    assert "no proof yet" in thresholds_for("balanced", None)[1]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"identities": ["a"]},
        {"identities": "ab"},
        {"n": -1},
        {"thresholds": []},
        {"thresholds": {"fast": {"threshold": 1.5}}},
        {"thresholds": {"fast": {"threshold": float("nan")}}},
        {"thresholds": {"fast": {"threshold": True}}},
    ],
)
def test_a_malformed_proof_is_refused(change: dict[str, object]) -> None:
    if change == {"thresholds": []}:
        change = {"thresholds": [1]}
    with pytest.raises(InvalidRequest):
        read_proof({**PROOF, **change})


# --- sums


def test_sums_say_what_each_lever_saved() -> None:
    timings = {"prompt_n": 100, "prompt_ms": 2000.0, "cache_n": 50, "predicted_n": 20, "predicted_ms": 1000.0}
    prices = {
        "small": {"prefill_s": 1.0, "load_s": 0.0, "decode_s": 1.0},
        "large": {"prefill_s": 4.0, "load_s": 0.0, "decode_s": 6.0},
    }
    route = {"tier": "small", "escalated": False, "seconds": {"small": 3.0}, "price": prices, "expected_n": 20}
    plain = {"model": "large", "timings": {**timings, "draft_ms_won": 500.0}, "bits": 4.0}
    sums = summed([{"model": "auto", "timings": timings, "route": route, "bits": 8.0}, plain])
    assert (sums.answers, sums.routed, sums.tokens) == (2, 1, 40)
    assert sums.tiers["small"].share == 0.5
    assert sums.saved["routing"] == pytest.approx(7.0)
    assert sums.saved["kv"] == pytest.approx(2.0)
    assert sums.saved["drafts"] == pytest.approx(0.5)
    assert sums.saved["quantization"] == pytest.approx(1.0 + 3.0)
    escalated = {**route, "tier": "large", "escalated": True, "seconds": {"small": 3.0, "large": 9.0}}
    assert summed([{"timings": timings, "route": escalated}]).tiers["small"].escalated == 1
