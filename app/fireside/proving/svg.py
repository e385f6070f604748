"""Plots as inline SVG that take their colours from the page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from fireside.proving.result import ArmResult
from fireside.proving.statistics import Tally
from fireside.proving.thresholds import Point

WIDTH = 640
Scale = Callable[[float], float]
_ROW = 30
_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 24, 12, 40


def kinds_plot(kinds: Mapping[str, Tally]) -> str:
    """Win, tie and loss of each kind as one bar, in shares."""
    height = _TOP + _ROW * len(kinds) + 22
    width = WIDTH - _LEFT - _RIGHT
    parts = []
    for at, (kind, tally) in enumerate(kinds.items()):
        y, x = _TOP + at * _ROW, float(_LEFT)
        parts.append(_text(_LEFT - 8, y + 16, kind, anchor="end"))
        for name in ("loss", "tie", "win"):
            n = int(getattr(tally, name))
            length = width * n / max(1, tally.n)
            if n:
                title = f"<title>{escape(kind)}: {n} of {tally.n} {name}</title>"
                parts.append(
                    f'<rect class="{name}" x="{x:.1f}" y="{y}" width="{length:.1f}" height="{_ROW - 8}">{title}</rect>'
                )
                if length > 22:
                    parts.append(_text(x + length / 2, y + 16, str(n), anchor="middle", kind="inside"))
            x += length
    parts.append(_text(_LEFT, height - 6, "loss · tie · win of the small model, in shares of the prompts"))
    return _svg(height, parts, "Win, tie and loss by kind of prompt")


def arms_plot(arms: Sequence[ArmResult]) -> str:
    """Quality with its interval over the share of seconds with its interval; up and left is better."""
    shown = [arm for arm in arms if arm.share is not None and arm.tally.n]
    if not shown:
        return ""
    height = 320
    top_s = max(1.1, *(arm.share.high for arm in shown if arm.share))
    low_q = min(0.9, *(arm.tally.quality().low for arm in shown)) - 0.02
    high_q = max(1.05, *(arm.tally.quality().high for arm in shown)) + 0.02
    parts = _axes(height, "seconds, as a share of the large model's", "quality")

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / top_s

    def y(value: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (high_q - value) / (high_q - low_q)

    parts += _ticks_x(height, x, top_s) + _ticks_y(y, low_q, high_q)
    parts.append(f'<line class="guide" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(1):.1f}" y2="{y(1):.1f}"/>')
    for at, arm in enumerate(shown):
        quality, seconds = arm.tally.quality(), arm.share
        if seconds is None:
            continue
        cx, cy = x(seconds.value), y(quality.value)
        title = f"{arm.label}: quality {quality.value:.2f}, {seconds.value:.0%} of the seconds"
        parts.append(
            f'<g class="arm a{at % 6}"><title>{escape(title)}</title>'
            f'<line x1="{cx:.1f}" x2="{cx:.1f}" y1="{y(quality.high):.1f}" y2="{y(quality.low):.1f}"/>'
            f'<line x1="{x(seconds.low):.1f}" x2="{x(min(seconds.high, top_s)):.1f}" y1="{cy:.1f}" y2="{cy:.1f}"/>'
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="5"/></g>'
        )
        # Names of neighbours stand on different sides.
        parts.append(_text(cx + 9, cy - 8 if at % 2 == 0 else cy + 18, arm.label))
    return _svg(height, parts, "Quality and seconds of each way to answer")


def curve_plot(points: Sequence[Point]) -> str:
    """What one threshold for all kinds would do: quality with its band, and seconds."""
    if len(points) < 2:
        return ""
    height = 300
    low = min(0.5, *(point.quality.low for point in points))
    high = max(1.1, *(point.quality.high for point in points), *(point.seconds for point in points))
    parts = _axes(height, "doubt up to which the small answer stays", "share of the large model's")

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value

    def y(value: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts += _ticks_x(height, x, 1.0) + _ticks_y(y, low, high)
    upper = [(x(p.threshold), y(p.quality.high)) for p in points]
    lower = [(x(p.threshold), y(p.quality.low)) for p in reversed(points)]
    parts.append(f'<polygon class="band" points="{_points(upper + lower)}"/>')
    parts.append(
        f'<polyline class="quality" points="{_points([(x(p.threshold), y(p.quality.value)) for p in points])}"/>'
    )
    parts.append(f'<polyline class="seconds" points="{_points([(x(p.threshold), y(p.seconds)) for p in points])}"/>')
    parts.append(_text(WIDTH - _RIGHT, y(points[-1].quality.value) - 8, "quality", anchor="end"))
    parts.append(_text(WIDTH - _RIGHT, y(points[-1].seconds) - 8, "seconds", anchor="end"))
    return _svg(height, parts, "Quality and seconds by threshold")


def _axes(height: int, below: str, beside: str) -> list[str]:
    bottom = height - _BOTTOM
    middle = bottom / 2
    return [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{WIDTH - _RIGHT}"/>',
        _text((WIDTH + _LEFT) / 2, height - 6, below, anchor="middle"),
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(beside)}</text>',
    ]


def _ticks_x(height: int, x: Scale, top: float) -> list[str]:
    values = [at / 5 for at in range(int(top * 5) + 1)]
    return [_text(x(value), height - _BOTTOM + 16, f"{value:.1f}", anchor="middle") for value in values]


def _ticks_y(y: Scale, low: float, high: float) -> list[str]:
    values = [at / 10 for at in range(int(low * 10) + 1, int(high * 10) + 1)]
    return [_text(_LEFT - 8, y(value) + 4, f"{value:.1f}", anchor="end") for value in values]


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(height: int, parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
