"""The lines of `--stats`: what an answer cost, in the engine's own numbers. Pure."""

from __future__ import annotations

from fireside.answer import Answer


def stats_lines(answer: Answer, first_text_s: float | None, total_s: float) -> list[str]:
    """`first_text_s` and `total_s` are the client's own clock, from sending the request."""
    timings, extension = answer.timings, answer.fireside
    cached, read = int(timings.get("cache_n") or 0), int(timings.get("prompt_n") or 0)
    prompt = f"prompt       {cached + read:,} tokens: {cached:,} from cache, {read:,} read"
    if read:
        prompt += f" at {_rate(timings.get('prompt_per_second'))}"
    lines = [prompt]
    disk, ram = int(timings.get("cache_disk_n") or 0), int(timings.get("cache_ram_n") or 0)
    if disk:
        lines.append(f"cache        {disk:,} from disk, {ram:,} from memory")
    if missed := extension.get("cache_reason"):
        lines.append(f"cache        {missed}")
    waits = [
        f"{words} {float(extension[key]) / 1000:.2f} s"
        for key, words in (("queue_ms", "queue"), ("load_ms", "load"))
        if extension.get(key)
    ]
    if first_text_s is not None:
        lines.append(f"first text   {first_text_s:.2f} s" + (f", of it {', '.join(waits)}" if waits else ""))
    predicted = int(timings.get("predicted_n") or 0)
    decode = f"answer       {predicted:,} tokens"
    if predicted > 1:
        decode += f" at {_rate(timings.get('predicted_per_second'))}"
    lines.append(f"{decode}, ended by {answer.finish_reason}; {total_s:.2f} s in all")
    if drafted := int(timings.get("draft_n") or 0):
        sources = timings.get("draft_sources") or {}
        mix = ", ".join(f"{name} {counts['draft_n_accepted']:,}" for name, counts in sources.items())
        line = f"drafts       {int(timings.get('draft_n_accepted') or 0):,} of {drafted:,} accepted"
        won = float(timings.get("draft_ms_won") or 0.0) / 1000
        lines.append(line + (f" ({mix}), {abs(won):.2f} s {'won' if won >= 0 else 'lost'}" if mix else ""))
    elif str(extension.get("speculation") or "").startswith("off: "):
        lines.append(f"drafts       {extension['speculation']}")
    facts = ", ".join(f"{key} {_word(extension[key])}" for key in ("seed", "exact") if extension.get(key) is not None)
    lines.append(f"model        {answer.model}" + (f" ({facts})" if facts else ""))
    if reason := extension.get("reason"):
        lines.append(f"reason       {reason}")
    return lines


def _rate(value: object) -> str:
    return f"{float(value):,.1f} tokens/s" if isinstance(value, int | float) else "an unknown rate"


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
