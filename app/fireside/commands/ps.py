"""`fireside ps`: the engine and its loaded models. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.sanitize import clean_line
from fireside.terminal import Output, to_json_line
from fireside.wire import Endpoint, JsonObject

_HEAD = (
    "NAME", "STATE", "CONTEXT", "SLOTS", "KV", "EXACT", "MEMORY", "PREDICTED", "ACTIVE", "WAITING", "UNLOADS IN",
)  # fmt: skip


def main(words: Sequence[str]) -> ExitCode:
    epilog = (
        "EXACT is the largest batch whose results are bit for bit those of single steps; with --deterministic\n"
        "every batch stays inside it. `all`: every batch is exact. With KV f16 it holds for the first 256 tokens.\n"
        "PREDICTED is what the plan before loading said MEMORY would be."
    )
    parser = Parser("ps", "Show the engine and its loaded models. Starts nothing.", epilog)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.read(words)
    endpoint = engine_process.find()
    if endpoint is None:
        Output().write(to_json_line({"running": False, "models": []}) + "\n" if args.json else "No engine runs.\n")
        return ExitCode.OK
    status = EngineClient(endpoint).get("/fireside/status", timeout=engine_process.HELLO_TIMEOUT)
    if args.json:
        Output().write(to_json_line({"running": True, "url": endpoint.url, **status}) + "\n")
    else:
        Output().write(render(endpoint, status))
    return ExitCode.OK


def render(endpoint: Endpoint, status: JsonObject) -> str:
    facts = [f"engine {status.get('version')} on {endpoint.url}, pid {status.get('pid')}"]
    facts.append(f"up {table.duration(status.get('uptime_s'))}")
    if idle_exit := status.get("idle_exit_s"):
        facts.append(f"leaves after {table.duration(idle_exit)} without work")
    memory = status.get("memory") or {}
    if memory:
        facts.append(f"{table.size(memory.get('available'))} of {table.size(memory.get('total'))} memory free")
    models = status.get("models") or []
    body = table.render(_HEAD, [_row(model) for model in models]) if models else "No model is loaded.\n"
    notes = [
        f"{clean_line(str(model.get('name')))}: {clean_line(str(model[word]))}\n"
        for model in models
        for word in ("note", "drift")
        if model.get(word)
    ]
    notes += [
        f"{clean_line(str(model.get('name')))}: drafts {_drafts(clean_line(str(words)))}\n"
        for model in models
        if (words := (model.get("info") or {}).get("speculation"))
    ]
    return f"{', '.join(facts)}\n{body}{''.join(notes)}"


def _drafts(words: str) -> str:
    """What drafts, or why nothing does."""
    return words if words.startswith("off") else f"by {words}"


def _row(model: JsonObject) -> list[str]:
    info = model.get("info") or {}
    window = info.get("exact_window")
    left = model.get("keep_alive_s_left")
    return [
        str(model.get("name")),
        str(model.get("state")),
        _text(info.get("n_ctx")),
        _text(info.get("n_slots")),
        _text(info.get("kv_type")),
        "all" if window == 0 else _text(window),
        table.size(model.get("rss") or info.get("memory")),
        table.size(model.get("predicted")),
        _text(model.get("active")),
        _text(model.get("waiting")),
        "never" if left is not None and left < 0 else table.duration(left),
    ]


def _text(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
