"""Numbers and accounts in words, short enough for a terminal. Pure."""

from __future__ import annotations

from fireside.account import Account


def count(value: int) -> str:
    """Exact below ten thousand, then rounded: 812, 3,120, 12.3k, 131k."""
    if value < 10_000:
        return f"{value:,}"
    if value < 100_000:
        return f"{value / 1000:.1f}k"
    if value < 10_000_000:
        return f"{value / 1000:.0f}k"
    return f"{value / 1_000_000:.0f}M"


def short_count(value: int) -> str:
    """For gauges: 812, 3.1k, and 8k for 8,192, as contexts are named."""
    if value < 1000:
        return str(value)
    if value % 1024 == 0:
        return f"{value // 1024}k"
    if value < 100_000:
        return f"{value / 1000:.1f}".removesuffix(".0") + "k"
    return count(value)


def size(n_bytes: float) -> str:
    """Decimal units, as disks and models are sold: 98 MB, 1.1 GB, 16 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale * 0.9995:
            value = n_bytes / scale
            return f"{value:.1f} {unit}" if value < 9.95 and unit != "kB" else f"{value:.0f} {unit}"
    return f"{n_bytes:.0f} B"


def duration(seconds: float) -> str:
    """0.4 s, 9 s, 1 min 20 s, 2 h 5 min."""
    if seconds < 0.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole // 60, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def rate(per_second: float) -> str:
    return f"{per_second:.0f} tok/s" if per_second >= 99.5 else f"{per_second:.1f} tok/s"


def plural(n: int, word: str) -> str:
    return f"{count(n)} {word}" if n == 1 else f"{count(n)} {word}s"


def why(account: Account, read_rate: float | None = None) -> list[str]:
    """Why the answer took as long as it did, in parts: what, the prompt, the answer, its promise, its end.

    `read_rate` is the speed at which this model read other prompts, for answers that read too little to tell.
    """
    parts = [account.model] if account.model else []
    if account.reason:
        parts.append(account.reason.rstrip("."))
    if account.load_ms >= 100:
        parts.append(f"loaded in {duration(account.load_ms / 1e3)}")
    if account.queue_ms >= 500:
        parts.append(f"waited {duration(account.queue_ms / 1e3)}")
    if account.cached is not None and account.prefilled is not None:
        parts.append(f"{_known(account)}{count(account.prefilled)} read")
        if (won := account.won(read_rate)) is not None and won >= 0.5:
            parts.append(f"{duration(won)} won")
        if account.cache_reason:
            parts.append(account.cache_reason.rstrip("."))
    if account.generated is not None:
        about = "≈" if account.counted_here else ""
        speed = f" at {about}{rate(account.rate)}" if account.rate else ""
        parts.append(f"{about}{plural(account.generated, 'token')}{speed}")
    if account.drafted:
        parts.append(f"{count(account.accepted)} of {count(account.drafted)} drafts accepted{_won(account)}")
    elif account.no_drafts:
        parts.append(f"no drafts: {account.no_drafts}")
    if account.exact is not None:
        parts.append("exact" if account.exact else "lossless up to rounding")
    if end := _ENDINGS[account.ending]:
        parts.append(end)
    return parts


def _won(account: Account) -> str:
    """By drafts, where it can be felt."""
    seconds = account.draft_won_ms / 1e3
    if abs(seconds) < 0.05:
        return ""
    return f", {duration(abs(seconds))} {'won' if seconds > 0 else 'lost'}"


def _known(account: Account) -> str:
    """What of the prompt needed no reading, and where it was."""
    if not account.cached:
        return ""
    disk, ram = min(account.cached_disk, account.cached), account.cached_ram
    kept = account.cached - disk - min(ram, account.cached - disk)
    pieces = [(kept, "from cache"), (account.cached - disk - kept, "from RAM"), (disk, "from disk")]
    return "".join(f"{count(n)} {where} + " for n, where in pieces if n)


def pack(parts: list[str], width: int, separator: str = " · ") -> list[str]:
    """The parts in lines of at most `width` characters, where each part fits one."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(separator) + len(part) <= width:
            lines[-1] += separator + part
        else:
            lines.append(part)
    return lines


_ENDINGS = {"stop": "", "length": "length limit reached", "stopped": "stopped by you", "failed": "broke off"}
