"""What is told of speculation, and what is kept of it between loads."""

from __future__ import annotations

import json
from pathlib import Path

from fireside_engine.core.speculation.calibration import Source
from fireside_engine.core.speculation.report import report
from fireside_engine.core.speculation.speculator import Limits, Speculator
from fireside_engine.worker import measured

PROBED = {1: 0.03, 2: 0.06, 4: 0.08, 8: 0.09}


def test_it_is_json_and_says_what_was_measured() -> None:
    speculator = Speculator(Limits(most_rows=8, draft_size=0.3), PROBED)
    for _ in range(3):
        speculator.costs.observe(0, 1, 1, 0.03)
        speculator.costs.observe(0, 1, 8, 0.12)
    for hit in (True, True, False, True):
        speculator.calibration.learn(Source.ANSWERS, False, 5, hit)
    told = json.loads(json.dumps(report(speculator, 100)))
    assert [cost["rows"] for cost in told["costs"]] == [1, 2, 3, 4, 5, 6, 8]
    assert told["costs"][-1] == {"rows": 8, "steps": 4.0, "measured": True}
    assert not told["costs"][1]["measured"]
    assert told["acceptance"] == {"answers": {"judged": 4, "accepted": 3}}
    assert told["draft_model"]["given_up"] == ""
    assert told["ceiling"] > 1.0


def test_where_it_is_off_it_says_why() -> None:
    told = report(Speculator(Limits(most_rows=1, reason="off: because"), {}), 5)
    assert told["off"] == "off: because"
    assert told["draft_model"] is None
    assert told["ceiling"] == 1.0


def test_costs_are_kept_for_the_next_load(tmp_path: Path) -> None:
    first = Speculator(Limits(), PROBED)
    for _ in range(3):
        first.costs.observe(1, 1, 1, 0.03)
        first.costs.observe(1, 1, 8, 0.15)
    measured.save_costs(tmp_path / "costs", "m", first.costs.known())
    again = Speculator(Limits(), PROBED, known=measured.load_costs(tmp_path / "costs", "m"))
    assert again.costs.ratio(1, 1, 8) == first.costs.ratio(1, 1, 8) == 5.0
    assert again.costs.ratio(0, 1, 8) < 5.0


def test_costs_that_cannot_be_read_are_learned_again(tmp_path: Path) -> None:
    assert measured.load_costs(tmp_path, "m") == {}
    for text in ("", "{", "[]", '{"ratios": 3}', '{"ratios": {"1,x": [1]}}', '{"ratios": {"1,1,2": ["a"]}}'):
        (tmp_path / "m.json").write_text(text)
        assert measured.load_costs(tmp_path, "m") == {}
    (tmp_path / "file").write_text("")
    measured.save_costs(tmp_path / "file" / "below", "m", {(0, 1, 2): [1.0]})
