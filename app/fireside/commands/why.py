"""`fireside why`: which model answered, why, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from fireside import engine_process, table
from fireside.arguments import Parser
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.sanitize import clean
from fireside.terminal import Narrator, Output, to_json_text
from fireside.wire import JsonObject


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser(
        "why",
        "Tell which model answered, why that one, and what it cost.",
        "ID is that of an answer, as the API tells it; its beginning or end is enough.",
    )
    parser.add_argument("id", metavar="ID", nargs="?", default="", help="the last answer where none is named")
    parser.add_argument("--json", action="store_true", help="everything that is known of it, as JSON")
    args = parser.read(words)
    narrator = Narrator()
    client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
    narrator.clear()
    found = client.get(f"/fireside/routing/why?id={quote(args.id)}")
    Output().write(to_json_text(found) if args.json else clean(render(found)))
    return ExitCode.OK


def render(found: JsonObject) -> str:
    """Lines: the reason first, then what it rests on."""
    timings, route = found.get("timings") or {}, found.get("route") or {}
    lines = [f"answer     {found.get('id')}"]
    if not route:
        lines.append(f"model      {found.get('model')}, which the request named")
    else:
        lines += [f"model      {route.get('tier')}", f"reason     {route.get('reason')}", *_grounds(route)]
    lines.append(f"prompt     {_n(timings, 'cache_n'):,} tokens from cache, {_n(timings, 'prompt_n'):,} read")
    lines.append(f"answer     {_n(timings, 'predicted_n'):,} tokens")
    if drafted := _n(timings, "draft_n"):
        lines.append(f"drafts     {_n(timings, 'draft_n_accepted'):,} of {drafted:,} accepted")
    return "\n".join(lines) + "\n" + _prices(route)


def _grounds(route: JsonObject) -> list[str]:
    features = route.get("features") or {}
    lines = [f"mode       {route.get('mode')}, proof: {route.get('proof')}"]
    doubt = route.get("doubt")
    watched = "not looked at" if doubt is None else f"{doubt:.2f}; above {route.get('threshold'):.2f} it is escalated"
    lines.append(f"doubt      {watched}")
    if route.get("escalated"):
        given, kept, shown = (_n(route, key) for key in ("given_n", "kept_n", "shown_n"))
        share = f" ({kept / given:.0%})" if given else ""
        lines.append(f"escalated  {kept} of {given} tokens kept{share}, {shown} shown before")
    elif _n(route, "kept_n") or _n(route, "deferred_n"):
        total = max(1, _n(route, "predicted_n"))
        small = _n(route, "kept_n")
        lines.append(f"shares     {small / total:.0%} of the tokens were those of the smaller model")
    facts = [str(features.get("kind")), f"about {_n(features, 'n_tokens'):,} tokens", f"turn {_n(features, 'n_turns')}"]
    facts += [words for key, words in (("tools", "tools"), ("tool_loop", "tool loop")) if features.get(key)]
    facts += ["schema"] if features.get("constrained") else []
    return [*lines, f"prompt     {', '.join(facts)}"]


def _prices(route: JsonObject) -> str:
    prices, seconds = route.get("price") or {}, route.get("seconds") or {}
    if not prices:
        return ""
    rows = [
        [
            name,
            f"{_n(cost, 'prefill_n'):,}",
            f"{_s(cost, 'prefill_s')}",
            f"{_s(cost, 'load_s')}",
            f"{_s(cost, 'decode_s')}",
            f"{seconds[name]:.1f} s" if name in seconds else "-",
        ]
        for name, cost in prices.items()
    ]
    return "\n" + table.render(("PRICE OF", "TO READ", "READING", "LOADING", "WRITING", "TOOK"), rows)


def _n(data: JsonObject, key: str) -> int:
    value = data.get(key)
    return int(value) if isinstance(value, int | float) else 0


def _s(data: JsonObject, key: str) -> str:
    return f"{float(data.get(key) or 0.0):.1f} s"
