"""What `fireside pull` says, and what it asks the engine for `--fit`."""

from __future__ import annotations

from typing import Any

import pytest

from fireside.commands import pull
from fireside.commands.pull import render_choice, render_outcome
from fireside.failure import Failure
from fireside.pulling import describe
from fireside.terminal import Narrator

PROGRESS = {
    "event": "progress", "stage": "downloading", "what": "x.gguf", "done": 0, "total": 0, "rate": None,
    "seconds_left": None, "note": "",
}  # fmt: skip
OUTCOME = {
    "event": "done", "name": "x", "path": "/x", "size": 10, "fetched": 4_000_000_000, "seconds": 100.0,
    "how": "downloaded", "reason": "It is right.", "repo": "a/b", "quant": "Q8_0", "licence": "mit", "unconfirmed": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"stage": "looking", "what": "a/b"}, "looking at a/b"),
        ({}, "fetching x.gguf"),
        (
            {"done": 500_000_000, "total": 2_000_000_000, "rate": 50e6, "seconds_left": 30.0},
            "fetching x.gguf  25%  500 MB of 2.0 GB  50.0 MB/s  30 s left",
        ),
        (
            {"done": 1, "total": 4, "rate": 1.0, "seconds_left": 3.0, "note": "It was cut. Again in 1 s."},
            "fetching x.gguf  25%  1 B of 4 B  It was cut. Again in 1 s.",
        ),
        ({"stage": "waiting", "what": "another pull of x"}, "waiting for another pull of x"),
        ({"stage": "checking"}, "comparing the checksum of x.gguf"),
    ],
)
def test_one_line_tells_how_far_it_is(change: dict[str, Any], line: str) -> None:
    assert describe(PROGRESS | change) == line


def test_the_outcome_in_sentences() -> None:
    assert render_outcome(OUTCOME) == (
        'Fetched 4.0 GB in 2 min, 40.0 MB/s. It is right. Licence: mit.\nAsk it with: fireside run -m x "…"'
    )
    present = render_outcome(OUTCOME | {"how": "present", "reason": "It is there.", "name": "a b"})
    assert present == 'Nothing to fetch. It is there.\nAsk it with: fireside run -m "a b" "…"'
    doubted = render_outcome(OUTCOME | {"unconfirmed": "no licence was found"})
    assert "check its licence: no licence was found." in doubted


def test_a_choice_cannot_steer_the_terminal() -> None:
    choice = {
        "repo": "a/b", "commit": "c" * 40, "licence": "mit\x1b[2J", "there": None, "missing": 3, "path": "/x",
        "unconfirmed": "", "models": [{"stem": "x\x1b[31m", "quant": "", "size": 3, "chosen": True}],
    }  # fmt: skip
    assert "\x1b" not in render_choice(choice)


FILES: list[dict[str, Any]] = [{"stem": "x-Q8_0", "quant": "Q8_0"}, {"stem": "x-UD-Q5_K_M", "quant": "UD-Q5_K_M"}]


KNOWN: dict[str, Any] = {"header": "/h", "files": FILES}


class Client:
    """An engine that answers with what the test says."""

    answer: dict[str, Any] = {}  # noqa: RUF012
    asked: list[tuple[str, Any]] = []  # noqa: RUF012

    def __init__(self, endpoint: object) -> None:
        pass

    def post(self, path: str, body: Any) -> dict[str, Any]:
        self.asked.append((path, body))
        return self.answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    Client.asked.clear()
    monkeypatch.setattr(pull, "EngineClient", Client)
    monkeypatch.setattr(pull.engine_process, "connect", lambda **_: None)
    return Client


def test_fit_takes_what_the_engine_picks(engine: type[Client]) -> None:
    rows = [{"picked": False, "name": "x-Q8_0"}, {"picked": True, "name": "x-UD-Q5_K_M"}]
    engine.answer = {"models": [{"rows": rows, "reason": "It is the best that fits."}]}
    assert pull._fitting("hf:a/b", KNOWN, Narrator(quiet=True)) == "UD-Q5_K_M"
    assert engine.asked == [("/fireside/fit", {"header": "/h", "files": FILES})]


def test_fit_fetches_nothing_that_does_not_fit(engine: type[Client]) -> None:
    engine.answer = {"models": [{"rows": [{"picked": False, "quant": "Q8_0"}], "reason": ""}]}
    with pytest.raises(Failure, match="No quantization of hf:a/b fits this machine") as caught:
        pull._fitting("hf:a/b", KNOWN, Narrator(quiet=True))
    assert (int(caught.value.exit_code), "--quant" in caught.value.hint) == (4, True)


@pytest.mark.parametrize(
    ("there", "files", "taken"), [(None, FILES, "UD-Q5_K_M"), ("/m/x.gguf", FILES, ""), (None, FILES[:1], "")]
)
def test_a_plain_name_takes_what_fits_where_there_is_a_choice(
    engine: type[Client], monkeypatch: pytest.MonkeyPatch, there: str | None, files: list[dict[str, Any]], taken: str
) -> None:
    engine.answer = {"models": [{"rows": [{"picked": True, "name": "x-UD-Q5_K_M"}], "reason": "It fits."}]}
    event = {"header": "/h", "models": files, "there": there}
    monkeypatch.setattr(pull, "peeked", lambda target, status: event)
    assert pull._usual_or_fitting("x", Narrator(quiet=True)) == taken


def test_only_plain_names_are_chosen_for() -> None:
    assert pull.is_plain_name("qwen3-4b")
    for word in ("qwen3-4b:Q8_0", "hf:a/b", "./x.gguf", "x.GGUF", "C:\\x"):
        assert not pull.is_plain_name(word)
