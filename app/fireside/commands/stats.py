"""`fireside stats`: tokens, seconds and shares of each model, and what was saved."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser, number
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output, to_json_text
from fireside.wire import JsonObject

_LEVERS = {
    "quantization": "quantization (estimated: against weights of 16 bits)",
    "kv": "KV that was not computed again",
    "drafts": "drafts, against token by token",
    "routing": "routing, against the large model alone",
}


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser(
        "stats",
        "Sum up what answers cost: tokens, seconds and shares of each model, and what was saved.",
        "Counts and times only; no text of a prompt is kept for it.",
    )
    parser.add_argument("--days", metavar="N", type=number, help="only of the last N days")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--forget", action="store_true", help="remove all of it, and the shadows of routed answers")
    args = parser.read(words)
    narrator = Narrator()
    client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
    narrator.clear()
    if args.forget:
        n = client.delete("/fireside/routing/trace").get("forgotten")
        Output().write(f"Forgot what {n} answers cost.\n")
        return ExitCode.OK
    since = f"?since={time.time() - args.days * 86400:.0f}" if args.days else ""
    found = client.get(f"/fireside/routing/stats{since}")
    Output().write(to_json_text(found) if args.json else render(found, time.time()))
    return ExitCode.OK


def render(found: JsonObject, now: float) -> str:
    if not found.get("answers"):
        return "Nothing was answered yet.\n"
    since = found.get("since")
    when = f" since {table.ago(now - since)}" if since else ""
    first = f"{found['answers']:,} answers{when}, {found['tokens']:,} tokens in {table.duration(found['seconds'])}; "
    first += f"{found['routed']:,} routed, {found['escalated']:,} escalated, {found['shadowed']:,} shadowed"
    lines = [first]
    prompt, cached = found["prompt_tokens"], found["cached_tokens"]
    if prompt:
        lines.append(f"{prompt:,} prompt tokens, {cached:,} of them from KV ({cached / prompt:.0%})")
    if found["drafted"]:
        lines.append(f"{found['drafted']:,} drafted tokens, {found['accepted'] / found['drafted']:.0%} accepted")
    tiers = sorted(found["tiers"].items(), key=lambda each: -each[1]["tokens"])
    rows = [[name, *_cells(tier)] for name, tier in tiers]
    lines.append("\n" + table.render(("MODEL", "ANSWERS", "TOKENS", "SHARE", "TIME", "ESCALATED"), rows))
    saved = [[words, f"{found['saved'][key]:+.1f} s"] for key, words in _LEVERS.items()]
    lines.append(table.render(("SAVED BY", "SECONDS"), saved))
    return "\n".join(lines)


def _cells(tier: JsonObject) -> list[str]:
    counts = [f"{tier['answers']:,}", f"{tier['tokens']:,}", f"{tier['share']:.0%}"]
    return [*counts, f"{tier['seconds']:.1f} s", str(tier["escalated"])]
