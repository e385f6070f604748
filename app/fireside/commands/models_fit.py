"""`fireside models fit`: what runs well on this machine, and why. Loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from fireside import engine_process, table
from fireside.arguments import Parser, count, positive
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.pulling import peek
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import EngineFailure, JsonObject

_DESCRIPTION = """\
What runs well on this machine, and why: for each quantization its quality, context, memory and speed. `>` marks the
choice. Without a name, all models that are there. Exit code 4 when nothing fits."""

_EPILOG = """\
QUALITY is a class value unless it is marked `measured`, which `fireside models measure` makes it. Memory is that of a
dry run of llama.cpp: what it would allocate, before anything is loaded."""

_HEAD = ("", "QUANT", "FILE", "QUALITY", "PLAN", "CONTEXT", "KV", "SLOTS", "WEIGHTS", "KV+STATE", "COMPUTE", "TOTAL",
         "TOK/S", "FITS")  # fmt: skip


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("models fit", _DESCRIPTION, _EPILOG)
    parser.add_argument("model", nargs="?", metavar="NAME|FILE|hf:ORG/REPO", help="a model, or a .gguf file")
    parser.add_argument("--ctx", type=count, metavar="N", help="tokens of context it must have")
    parser.add_argument("--slots", type=count, metavar="N", help="conversations at once that it must have")
    parser.add_argument("--kv", choices=("f16", "bf16", "q8_0"), help="type of the KV cache")
    parser.add_argument("--draft", metavar="NAME", help="a small model that is to draft for it, loaded besides")
    parser.add_argument("--speed", type=positive, metavar="N", help="tokens a second to aim at (15)")
    parser.add_argument("--json", action="store_true", help="one JSON object, with bytes for each device")
    args = parser.read(words)
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        body = _subject(args.model, client, narrator)
        for key, value in (
            ("n_ctx", args.ctx),
            ("n_slots", args.slots),
            ("kv_type", args.kv),
            ("speed", args.speed),
            ("draft", args.draft),
        ):
            if value is not None:
                body[key] = value
        narrator.status("looking at models and machine")
        found = client.post("/fireside/fit", body)
    finally:
        narrator.clear()
    Output().write(to_json_line(found) + "\n" if args.json else render(found))
    some = any(row["fits"] for model in found["models"] for row in model["rows"])
    return ExitCode.OK if some or not found["models"] else ExitCode.MODEL


def _subject(word: str | None, client: EngineClient, narrator: Narrator) -> JsonObject:
    """What to ask about. Of a model that is not here, the header is fetched: some MiB instead of all of it."""
    if word is None:
        return {"model": ""}
    if not word.startswith("hf:"):
        try:
            name = ModelChoice(word).resolve(client)
            client.get(f"/v1/models/{quote(name)}")
            return {"model": name}
        except EngineFailure as failure:
            if "not installed" not in failure.message:
                raise
    return peek(word, narrator.status)


def render(found: JsonObject) -> str:
    lines = [f"{machine_line(found['machine'])}\n"]
    for model in found["models"]:
        lines.append(f"\n{clean_line(headline(model))}\n")
        if model["rows"]:
            lines.append(table.render(_HEAD, [_row(row) for row in model["rows"]]))
        lines.append(f"{clean_line(model['reason'])}\n")
        for row in model["rows"]:
            if row["refusal"]:
                changes = "; ".join(row["refusal"]["changes"])
                lines.append(f"{clean_line(row['quant'])} would fit with: {clean_line(changes)}\n")
        lines += [f"{clean_line(item['name'])}: {clean_line(item['error']['message'])}\n" for item in model["broken"]]
    if not found["models"]:
        lines.append("\nNo model is there. `fireside models` says how to get one.\n")
    return "".join(lines)


def machine_line(machine: JsonObject) -> str:
    """e.g. `main memory 22.1 of 25.3 GB free (system), 2.0 kept; 2 threads`."""
    parts = [
        f"{pool['title'] or pool['name']} {table.size(pool['free'])} of {table.size(pool['total'])} free "
        f"({pool['source']}), {table.size(pool['keep'])} kept"
        for pool in machine["pools"]
    ]
    return clean_line(f"{'; '.join(parts)}; {machine['n_threads']} threads")


def headline(model: JsonObject) -> str:
    size = table.parameters(model["n_params"])
    if model["n_active"] < 0.9 * model["n_params"]:
        size += f" ({table.parameters(model['n_active'])} active)"
    return f"{model['model']}: {model['architecture']}, {size}, trained for {model['n_ctx_train']:,} tokens"


def _rate(plan: JsonObject) -> str:
    rate = plan["tokens_per_second"]
    return f"{rate:.{1 if rate < 10 else 0}f} ±{rate * plan['margin']:.{1 if rate < 10 else 0}f}"


def _row(row: JsonObject) -> list[str]:
    plan, quality = row["plan"], row["quality"]
    sums = {kind: sum(part[kind] for part in row["memory"]) for kind in ("weights", "kv", "compute", "outputs")}
    total = sum(sums.values()) + row["process"]
    cells = [
        ">" if row["picked"] else "",
        str(row["quant"]),
        table.size(row["size"]),
        f"{quality['band']} {quality['kld']:.3f}" + (" measured" if quality["measured"] else ""),
        plan["words"] if plan else "-",
        f"{plan['n_ctx']:,}" if plan else "-",
        plan["kv"] if plan else "-",
        str(plan["n_slots"]) if plan else "-",
        table.size(sums["weights"]),
        table.size(sums["kv"]),
        table.size(sums["compute"] + sums["outputs"]),
        table.size(total) + ("" if row["exact"] else " ~"),
        _rate(plan) if plan else "-",
    ]
    if row["fits"]:
        cells.append(f"yes, but {row['against']}" if row["against"] else "yes")
    else:
        cells.append(f"no: {table.size(row['refusal']['missing'])} missing" if row["refusal"] else "no")
    return cells
