"""Whole runs of `fireside prove` against an engine in one object: what is asked, judged, stored and concluded."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from fireside import engine_process
from fireside.commands import prove
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from fireside.failure import Failure
from fireside.proving import asking, report_html, report_text, result
from fireside.proving.arms import MODES, TOLERANCE, Tier
from fireside.proving.asking import Disturbed
from fireside.proving.evidence import AUDIT_ARM, Pairing, compare, needs_judge
from fireside.proving.idling import QUIET, Idle
from fireside.proving.items import Item
from fireside.proving.judging import Vote
from fireside.proving.result import Result
from fireside.proving.runner import OutOfTime, Plan, Prover
from fireside.proving.sampling import place
from fireside.proving.saved import items_of, saved_items
from fireside.proving.shadowing import judge_shadows
from fireside.proving.store import Answered, Checked, Proofs, Run
from fireside.terminal import Narrator
from fireside.wire import EngineFailure
from proving_engine import LARGE, SMALL, Engine

TIERS = (Tier(SMALL, "small-1"), Tier(LARGE, "large-1"))
ABOUT = {"tiers": "test"}


@pytest.fixture(autouse=True)
def _time_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers took is the engine's to say, so that a choice by seconds is the same in each run."""
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: Engine.now))


def prompts(n: int, n_open: int = 0) -> list[Item]:
    """Prompts with a check, and some that only a judge can tell apart."""
    kinds = ("extraction", "classification", "arithmetic")
    found = [
        Item(
            f"i{at}",
            kinds[at % 3],
            ({"role": "user", "content": f"question {at}"},),
            {"type": "exact", "values": [f"right {at}"]},
        )
        for at in range(n)
    ]
    open_ones = [Item(f"o{at}", "open", ({"role": "user", "content": f"open {at}"},)) for at in range(n_open)]
    return found + open_ones


def engine_for(items: Sequence[Item], **options: float) -> Engine:
    return Engine({item.question: f"right {item.id[1:]}" for item in items if item.check}, **options)


def prover_of(engine: Engine, run: Run, floor: float = 0.85, minutes: float | None = None) -> Prover:
    plan = Plan(TIERS, MODES, True, floor, minutes)
    return Prover(engine, run, plan, Narrator(quiet=True), Idle(engine, wanted=False))  # type: ignore[arg-type]


def proved(engine: Engine, items: Sequence[Item], floor: float = 0.85) -> tuple[Run, Result]:
    run = Proofs().begin(ABOUT, place(items, None, 1))
    prover = prover_of(engine, run, floor)
    prover.work()
    return run, prover.result()


def test_a_run_finds_where_the_small_model_is_enough() -> None:
    items = prompts(120, 12)
    engine = engine_for(items)
    run, found = proved(engine, items)
    assert found.choices["balanced"].is_made
    lines = {arm.label: arm for arm in found.held}
    assert list(lines) == [SMALL, LARGE, "exact", "balanced", "fast"]
    assert lines["exact"].tally == (0, lines["exact"].n, 0)
    assert lines[SMALL].tally.loss > 0
    assert lines["balanced"].tally.loss < lines[SMALL].tally.loss
    assert 0 < lines["balanced"].small < lines["balanced"].n
    assert lines[LARGE].passed is not None
    assert lines[LARGE].passed.value == 1.0
    assert found.audit == (6, 6)
    # What the held-out half does not bear out is not used.
    below = lines["balanced"].tally.quality().value < 0.85
    assert ("balanced" in found.withdrawn) == below
    proof = result.proof_of(found, "2026-01-01", TOLERANCE)
    assert proof["identities"] == ["small-1", "large-1"]
    made = {mode for mode, choice in found.choices.items() if choice.is_made}
    assert set(proof["thresholds"]) == made - set(found.withdrawn)
    assert proof["n"] == len(items)
    assert json.loads(json.dumps(proof)) == proof
    # The held-out half was asked with the thresholds that were chosen without it.
    kinds = {json.loads(arm.partition(" ")[2])["threshold"] for _, arm in run.answers if arm.startswith("balanced ")}
    assert kinds <= set(found.choices["balanced"].kinds.values())


def test_nothing_is_concluded_from_twelve_prompts() -> None:
    items = prompts(12)
    engine = engine_for(items, small_errs=0.0)
    _, found = proved(engine, items, 0.5)
    assert result.proof_of(found, "", TOLERANCE)["thresholds"] == {}
    text = report_text.render(found)
    assert "balanced: no threshold: 6 prompts are too few" in text
    assert [arm.label for arm in found.held] == [SMALL, LARGE, "exact"]


def test_a_planted_bad_model_loses() -> None:
    items = prompts(50, 10)
    _, found = proved(engine_for(items, small_errs=1.0), items)
    assert all(tally.tie == tally.win == 0 for tally in found.kinds.values())
    assert not any(choice.is_made for choice in found.choices.values())


def test_identical_answers_tie_without_asking_the_judge() -> None:
    items = prompts(0, 20)
    engine = engine_for(items, small_errs=0.0)
    run, found = proved(engine, items)
    assert found.kinds["open"] == (0, 20, 0)
    assert {arm for _, arm, _ in run.votes} == {AUDIT_ARM}


@pytest.mark.parametrize("taste", [-0.3, 0.0, 0.3])
def test_a_judge_that_likes_a_place_changes_nothing(taste: float) -> None:
    items = prompts(0, 30)
    engine = engine_for(items)
    engine.judge_prefers_first = taste
    _, found = proved(engine, items)
    losses = sum(engine.doubt(item.question) > 0.7 for item in items)
    assert found.kinds["open"] == (0, 30 - losses, losses)


class Killed(BaseException):
    """As kill -9: nobody handles it."""


def test_a_run_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    items = prompts(50, 4)
    whole = engine_for(items)
    _, expected = proved(whole, items)
    path, draw = tmp_path / "proofs.db", random.Random(3)
    Proofs(path).begin(ABOUT, place(items, None, 1))
    engine = engine_for(items)
    for _ in range(40):
        left = draw.randrange(1, 40)

        def count_down() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        engine.before = count_down
        # Each life reads all of it from the disk, as a new process does.
        run = Proofs(path).find(ABOUT)
        assert run is not None
        prover = prover_of(engine, run)
        try:
            prover.work()
            break
        except Killed:
            continue
    else:
        pytest.fail("it never came to its end")
    # Nothing was asked twice: what is written is not done again.
    assert len(engine.asked) == len(whole.asked)
    found = prover.result()
    assert found.kinds == expected.kinds
    assert found.choices.keys() == expected.choices.keys()
    assert [(arm.label, arm.tally) for arm in found.held] == [(arm.label, arm.tally) for arm in expected.held]


def test_it_stops_when_its_minutes_are_over_and_keeps_what_it_has() -> None:
    items = prompts(12)
    run = Proofs().begin(ABOUT, place(items, None, 1))
    with pytest.raises(OutOfTime):
        prover_of(engine_for(items), run, minutes=1e-9).work()
    assert prover_of(engine_for(items), run).result().n == 0


def test_a_prompt_that_cannot_be_answered_is_counted_and_left_out() -> None:
    items = prompts(60)
    engine = engine_for(items)
    engine.refuses = {items[0].question}
    run, found = proved(engine, items)
    assert found.n == 59
    assert "context_exceeded" in run.answers["i0", next(arm for id_, arm in run.answers if id_ == "i0")].error
    assert "answer failed" in report_text.render(found)


def test_an_engine_that_goes_away_ends_the_call_and_not_the_run() -> None:
    items = prompts(12)
    engine = engine_for(items)

    def gone() -> None:
        if len(engine.asked) == 5:
            raise EngineFailure.gone()

    engine.before = gone
    run = Proofs().begin(ABOUT, place(items, None, 1))
    with pytest.raises(EngineFailure, match="went away"):
        prover_of(engine, run).work()
    again = Proofs().find(ABOUT)
    assert again is not None
    assert len(again.answers) == 5
    assert not any(answer.error for answer in again.answers.values())


class Clock:
    def __init__(self, engine: Engine, busy_until: float) -> None:
        self.now, self._engine, self._busy_until = 0.0, engine, busy_until

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._engine.active = int(self.now < self._busy_until)

    def read(self) -> float:
        return self.now


def test_idle_work_waits_for_quiet_and_gives_way() -> None:
    engine = Engine({})
    clock = Clock(engine, 5.0)
    engine.active = 1
    idle = Idle(engine, wanted=True, clock=clock.read, sleep=clock.sleep)  # type: ignore[arg-type]
    idle.wait(lambda _text: None)
    assert 5.0 + QUIET <= clock.now <= 5.0 + QUIET + 2
    engine.active = 1
    clock.now += 2
    assert not idle.is_disturbed()
    engine.active = 2
    assert not idle.is_disturbed()
    clock.now += 2
    assert idle.is_disturbed()


def test_an_answer_that_was_in_the_way_is_asked_again() -> None:
    items = prompts(12)
    engine = engine_for(items)
    run = Proofs().begin(ABOUT, place(items, None, 1))

    class Once(Idle):
        disturbed = 0

        def is_disturbed(self) -> bool:
            self.disturbed += 1
            return self.disturbed == 3

    idle = Once(engine, wanted=True)  # type: ignore[arg-type]
    plan = Plan(TIERS, (), True, 0.9)
    Prover(engine, run, plan, Narrator(quiet=True), idle).work()  # type: ignore[arg-type]
    assert len(run.answers) == 24
    assert len(engine.asked) == 25
    assert issubclass(Disturbed, Exception)


def test_the_page_is_whole_and_needs_no_network() -> None:
    items = prompts(60, 10)
    items.append(Item("evil", "open", ({"role": "user", "content": "<script>alert(1)</script> & co"},)))
    engine = engine_for(items, small_errs=0.6)
    _, found = proved(engine, items)
    page = report_html.render(found, "2026-01-01")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?://", page)
    assert "prefers-color-scheme:dark" in page
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        ElementTree.fromstring(plot)
    assert "Where small was not good enough" in page


def test_questions_of_saved_chats(home: Path) -> None:
    chat = Conversation(system="Be short.")
    chat.ask("Why is it so?")
    chat.answer("Because.")
    chat.ask("Write a Python function")
    again = Conversation(system="Be short.")
    again.ask("Why  is it so?")
    store = Store()
    store.save(chat, chat.turns.values())
    store.save(again, again.turns.values())
    found = {item.kind: item for item in saved_items(store)}
    assert set(found) == {"open", "code"}
    assert [message["role"] for message in found["code"].messages] == ["system", "user", "assistant", "user"]
    chat.ask("x" * 20_000)
    assert len(list(items_of(chat))) == 2


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from fireside.proving.items import embedded

    engine = Engine({item.question: item.good for item in embedded()})
    monkeypatch.setattr(engine_process, "connect", lambda **_: None)
    monkeypatch.setattr(prove, "EngineClient", lambda _endpoint: engine)
    return engine


def test_the_command_from_beginning_to_end(
    served: Engine, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    page = tmp_path / "proof.html"
    words = ["--kinds", "classification,arithmetic,rewriting,extraction", "--floor", "0.8", "--report", str(page)]
    prove.main(words)
    out = capfdbinary.readouterr().out.decode()
    assert "The held-out half" in out
    assert "auto` goes by this proof" in out
    assert served.proof is not None
    assert served.proof["thresholds"]["balanced"]["kinds"]
    assert page.read_text().startswith("<!doctype html>")
    asked = len(served.asked)
    prove.main([*words[:4], "--json"])
    done = json.loads(capfdbinary.readouterr().out)
    assert done["complete"]
    assert done["proof"]["n"] == 106
    # All of it was there.
    assert len(served.asked) == asked
    prove.main(["--forget"])
    assert served.proof is None
    assert Proofs().find({}) is None


def test_without_auto_two_models_can_be_compared(served: Engine, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    served.routes = False
    with pytest.raises(Failure, match="no two tiers"):
        prove.main([])
    prove.main(["--tiers", SMALL, LARGE, "--limit", "12"])
    out = capfdbinary.readouterr().out.decode()
    assert "The engine does not route" in out
    assert {body["model"] for body in served.asked} == {SMALL, LARGE}
    assert served.proof is None


@pytest.mark.parametrize(
    "words",
    [["--floor", "1.5"], ["--modes", "quick"], ["--kinds", "poems"], ["--tiers", "one"], ["--file", "/no/such/file"]],
)
def test_mistakes_are_explained(served: Engine, words: list[str]) -> None:
    with pytest.raises(Failure):
        prove.main(words)


def test_shadows_are_judged_once_and_drift_is_told(
    served: Engine, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def shadow(at: int, text: str) -> dict[str, object]:
        messages = [{"role": "user", "content": f"open {at}"}]
        return {
            "id": at,
            "messages": messages,
            "tier": SMALL,
            "text": text,
            "large_text": f"a long answer to open {at}",
        }

    shadows = [shadow(at, "no idea" if at % 2 else f"a long answer to open {at}") for at in range(30)]
    get = served.get
    monkeypatch.setattr(
        served, "get", lambda path, **kw: {"shadows": shadows} if path.endswith("/shadows") else get(path, **kw)
    )
    served.proof = {"held_out": {"arms": {"balanced": {"win": 1, "tie": 60, "loss": 1}}}}
    prove.main(["--drift"])
    out = capfdbinary.readouterr().out.decode()
    assert "Drift: 50%" in out
    assert len(served.asked) == 30
    prove.main(["--drift", "--json"])
    assert json.loads(capfdbinary.readouterr().out)["drift"] is True
    assert len(served.asked) == 30
    assert judge_shadows is not None


class Rows:
    def __init__(self, check: bool | None, other: bool | None) -> None:
        self.answers = {("i", "arm"): Answered("a", 1.0), ("i", "base"): Answered("b", 1.0)}
        told = {"arm": check, "base": other}
        self.checks = {("i", key): Checked(passed, "") for key, passed in told.items() if passed is not None}
        self.votes: dict[tuple[str, str, bool], Vote] = {}


@pytest.mark.parametrize(
    ("mine", "other", "then_judge", "outcome", "judged"),
    [
        (True, False, True, "win", False),
        (False, True, True, "loss", False),
        (False, False, True, "tie", False),
        (True, True, False, "tie", False),
        (True, True, True, None, True),
        (None, True, False, None, False),
    ],
)
def test_a_check_goes_before_the_judge(
    mine: bool | None, other: bool | None, then_judge: bool, outcome: str | None, judged: bool
) -> None:
    item = Item("i", "open", ({"role": "user", "content": "?"},), {"type": "exact", "values": ["x"]}, then_judge)
    pair, rows = Pairing(item, "arm", "base"), Rows(mine, other)
    assert compare(rows, pair) == outcome
    assert needs_judge(rows, pair) == judged
