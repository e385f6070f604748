"""The report as one HTML file: no script, no network, light and dark as the reader's system is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fireside.proving import svg
from fireside.proving.report_text import arm_row, share, verdicts
from fireside.proving.result import ArmResult, Example, Result
from fireside.proving.thresholds import curve

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--page:#fdfcfa;--line:#d8d5ce;--dim:#66707f;--win:#2f8f5b;--tie:#b9bfc9;
--loss:#c8543f;--a0:#3566c0;--a1:#8a4fbf;--a2:#c07a1e;--a3:#23897f;--a4:#b8467f;--a5:#5d6b1f;--band:#3566c022}
@media(prefers-color-scheme:dark){:root{--ink:#e5e7eb;--page:#15181e;--line:#343a45;--dim:#9aa4b2;--win:#4cb37c;
--tie:#565f6d;--loss:#e0745f;--a0:#7ca6f2;--a1:#b98ae6;--a2:#e0a553;--a3:#5cc4b8;--a4:#e680b4;--a5:#b3c25c;
--band:#7ca6f233}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:960px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--dim);font-weight:500}
svg{width:100%;max-width:680px;display:block;font:13px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .inside{fill:var(--page)}.axis{fill:none;stroke:var(--line)}
.guide{stroke:var(--dim);stroke-dasharray:4 4}.win{fill:var(--win)}.tie{fill:var(--tie)}.loss{fill:var(--loss)}
.arm line{stroke-width:2}.a0{stroke:var(--a0);fill:var(--a0)}.a1{stroke:var(--a1);fill:var(--a1)}
.a2{stroke:var(--a2);fill:var(--a2)}.a3{stroke:var(--a3);fill:var(--a3)}.a4{stroke:var(--a4);fill:var(--a4)}
.a5{stroke:var(--a5);fill:var(--a5)}.band{fill:var(--band)}.quality{fill:none;stroke:var(--a0);stroke-width:2}
.seconds{fill:none;stroke:var(--a2);stroke-width:2}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:color-mix(in srgb,var(--ink) 6%,transparent);padding:.6rem;
border-radius:6px;font-size:.85rem;margin:.3rem 0}
details{border-bottom:1px solid var(--line);padding:.4rem 0}summary{cursor:pointer}.dim{color:var(--dim)}
"""
_ARMS = ("answered by", "prompts", "checks passed", "quality", "win/tie/loss", "seconds", "of large", "tokens",
         "stayed small")  # fmt: skip
_METHOD = """\
Quality is 1 + (wins − losses) / prompts against the large model alone, with the interval of Agresti and Min for matched
pairs. Shares have Wilson’s interval, seconds a bootstrap over prompts; all of 95 %. Answers that can be checked are
checked; others are compared by the large model, which is not told whose they are and reads them in both orders; equal
texts tie unread."""
_SHOWN = 1500
"""Characters of a prompt or an answer in an example."""


def render(result: Result, made: str) -> str:
    """The whole page. It holds prompts of the user: a few on which the small model was not good enough."""
    small, large = escape(result.tiers[0].name), escape(result.tiers[-1].name)
    floor = f"{result.floor:.2f}"
    said = "".join(f"<li>{escape(line)}</li>" for line in verdicts(result))
    about = (
        f"Made by <code>fireside prove</code> on {escape(made)}, from {result.n} of {result.n_prompts} prompts, on "
        f"this machine. Floor of quality: {floor}."
    )
    parts = [
        f"<h1>When {small} is enough, and when it takes {large}</h1>",
        f'<p class="dim">{about}</p>',
        f"<ul>{said}</ul>",
        f"<h2>{small} against {large}, by kind of prompt</h2>",
        svg.kinds_plot(result.kinds),
        _kinds(result),
        "<h2>The held-out half, which no choice has seen</h2>",
        svg.arms_plot(result.held),
        _arms(result.held),
        "<h2>The half that thresholds were chosen with</h2>",
        svg.curve_plot(curve(result.replays)),
        _arms(result.chosen),
        _examples(result.examples, small, large),
        "<h2>How to read it</h2>",
        f"<p>{_METHOD}</p>",
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>fireside prove: {small}, {large}</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _kinds(result: Result) -> str:
    rows = [
        [kind, str(tally.n), str(tally.win), str(tally.tie), str(tally.loss), share(tally.kept())]
        for kind, tally in result.kinds.items()
    ]
    return _table(("kind", "prompts", "win", "tie", "loss", "at least as good"), rows)


def _arms(arms: Sequence[ArmResult]) -> str:
    return _table(_ARMS, [arm_row(arm) for arm in arms if arm.n])


def _examples(examples: Sequence[Example], small: str, large: str) -> str:
    if not examples:
        return ""
    parts = [f"<h2>Where {small} was not good enough</h2>"]
    for example in examples:
        title = f"{escape(example.item.kind)}: {escape(_short(example.item.question, 90))}"
        parts.append(
            f'<details><summary>{title}</summary><p class="dim">{escape(example.why)}</p>'
            f"<pre>{escape(_short(example.item.question, _SHOWN))}</pre>"
            f"<p>{small}</p><pre>{escape(_short(example.mine, _SHOWN))}</pre>"
            f"<p>{large}</p><pre>{escape(_short(example.base, _SHOWN))}</pre></details>"
        )
    return "".join(parts)


def _short(text: str, limit: int) -> str:
    text = text.strip()
    return text if len(text) <= limit else f"{text[:limit]} …"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
