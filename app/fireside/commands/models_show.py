"""`fireside models show`: all about one model, loaded or not."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("models show", "All about one model: what it is, how it would be loaded, what loading it took.")
    parser.add_argument("model", metavar="NAME|FILE", help="a model")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.read(words)
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        found = client.post("/fireside/show", {"model": ModelChoice(args.model).resolve(client)})
    finally:
        narrator.clear()
    Output().write(to_json_line(found) + "\n" if args.json else render(found))
    return ExitCode.OK


def render(found: JsonObject) -> str:
    details, row = found["details"], found["row"]
    facts = [
        ("name", found["name"]),
        ("file", found["path"]),
        ("size", table.size(found["size"])),
        ("architecture", details.get("architecture")),
        ("parameters", table.parameters(found["n_params"])),
        ("trained for", f"{found['n_ctx_train']:,} tokens"),
        ("quantization", details.get("quant")),
        ("quality", _quality(row)),
        ("licence", details.get("licence")),
        ("roles", ", ".join(details.get("roles") or ())),
        ("heads", _heads(details)),
        ("about", details.get("description")),
        ("would load", _plan(row)),
        ("needs", _memory(row["memory"], row["process"])),
        ("loaded", _loaded(found["loaded"])),
        ("last load", _last(found["last_load"])),
    ]
    return "".join(f"{name:<14}{clean_line(str(value))}\n" for name, value in facts if value)


def _heads(details: JsonObject) -> str:
    """What the model could predict beyond the next token."""
    n = details.get("prediction_heads") or 0
    if not n:
        return ""
    which = "head" if n == 1 else "heads"
    return f"{n} {which} for multi-token prediction, not used: llama.h does not give the states that they need"


def _quality(row: JsonObject) -> str:
    quality = row["quality"]
    how = "measured here" if quality["measured"] else "class value"
    same = f", same token {quality['same_top']:.1%}" if quality["same_top"] is not None else ""
    return f"{quality['band']}, KL divergence {quality['kld']:.3f} ({how}){same}"


def _plan(row: JsonObject) -> str:
    if not row["plan"]:
        missing = f"{table.size(row['refusal']['missing'])} missing; " if row["refusal"] else ""
        return f"no: {missing}it would with {'; '.join(row['refusal']['changes'])}" if row["refusal"] else "no"
    plan = row["plan"]
    return (
        f"{plan['words']}, {plan['n_ctx']:,} tokens of context, KV in {plan['kv']}, {plan['n_slots']} slots, "
        f"about {plan['tokens_per_second']:.0f} tokens/s. {plan['reason']}"
    )


def _memory(parts: list[JsonObject], process: int) -> str:
    kinds = (("weights", "weights"), ("kv", "KV"), ("compute", "compute"), ("outputs", "outputs"))
    texts = []
    for part in parts:
        sums = " + ".join(f"{table.size(part[kind])} {word}" for kind, word in kinds if part[kind])
        texts.append(f"{part['device']} {sums}")
    return f"{'; '.join(texts)}; process {table.size(process)}"


def _loaded(models: list[JsonObject]) -> str:
    return "; ".join(
        f"{model['state']}, {table.size(model['rss'])} now, {table.size(model['predicted'])} predicted"
        + (f" ({model['note']})" if model["note"] else "")
        + (f" ({model['drift']})" if model["drift"] else "")
        for model in models
    )


def _last(load: JsonObject | None) -> str:
    if load is None:
        return ""
    return (
        f"predicted {table.size(load['predicted'])}, took {table.size(load['actual'])}; "
        f"buffers {table.size(load['predicted_devices'])} and {table.size(load['actual_devices'])}"
    )
