"""`fireside models search`: what the catalogue knows. Nothing is asked of the network."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from fireside import engine_process, table
from fireside.arguments import Parser
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject

_EPILOG = """\
`fireside pull NAME` fetches one. SIZE is about that of the usual quantization; `fireside pull NAME --dry-run` asks the
hub for all there are, and their sizes. `?` behind a licence: it could not be confirmed.
"""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("models search", "List the models that can be fetched by name.", _EPILOG)
    parser.add_argument("query", nargs="*", metavar="WORD", help="words of a name or purpose, e.g. code")
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")
    args = parser.read(words)
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        found = client.get(f"/fireside/catalogue?query={quote(' '.join(args.query))}")
    finally:
        narrator.clear()
    Output().write(to_json_line(found) + "\n" if args.json else render(found["models"]))
    return ExitCode.OK


def render(models: list[JsonObject]) -> str:
    if not models:
        return "The catalogue has none. `fireside pull hf:OWNER/REPO` fetches from any repository of the hub.\n"
    head = ("NAME", "SIZE", "CONTEXT", "FOR", "LICENCE", "", "WHAT")
    return table.render(head, [_row(model) for model in models])


def _row(model: JsonObject) -> list[str]:
    return [
        model["name"],
        f"~{table.size(model['size'])}" if model["size"] else "-",
        f"{model['context']:,}" if model["context"] else "-",
        ",".join(model["roles"]),
        model["licence"] + ("" if model["confirmed"] else "?"),
        "here" if model["installed"] else "",
        model["description"],
    ]
