"""What a speculator knows and believes, as JSON values, for `fireside bench --speculation`."""

from __future__ import annotations

from typing import Any

from fireside_engine.core.speculation.calibration import Source
from fireside_engine.core.speculation.costs import SIZES
from fireside_engine.core.speculation.drafting import break_even
from fireside_engine.core.speculation.speculator import Speculator


def report(speculator: Speculator, n_tokens: int) -> dict[str, Any]:
    """n_tokens: length of the conversation that it is asked for; costs grow with it."""
    costs, limits = speculator.costs, speculator.limits
    depth = costs.depth_of(n_tokens)

    def ratio(rows: int) -> float:
        return costs.ratio(depth, 1, rows)

    sizes = [rows for rows in SIZES if rows <= limits.most_rows]
    acceptance = {}
    for source in Source:
        both = [speculator.calibration.acceptance(source, greedy) for greedy in (True, False)]
        met, seen = sum(pair[0] for pair in both), sum(pair[1] for pair in both)
        if seen >= 1.0:
            acceptance[source.value] = {"judged": round(seen), "accepted": round(met)}
    model = speculator.model
    return {
        "most_rows": limits.most_rows,
        "off": limits.reason,
        "step_ms": round(costs.step(depth) * 1e3, 3),
        "costs": [
            {"rows": rows, "steps": round(ratio(rows), 3), "measured": costs.is_measured(depth, 1, rows)}
            for rows in sizes
        ],
        "ceiling": round(max(rows / ratio(rows) for rows in sizes), 3),
        "acceptance": acceptance,
        "balance": round(speculator.ledger.balance, 3),
        "won_ms": round(speculator.ledger.won_seconds * 1e3, 1),
        "batches": speculator.ledger.batches,
        "draft_model": None
        if model is None
        else {
            "token_cost": round(model.token_cost, 3),
            "acceptance": round(model.acceptance, 3),
            "break_even": break_even(model.token_cost, ratio, limits.most_rows),
            "given_up": model.useless,
        },
    }
