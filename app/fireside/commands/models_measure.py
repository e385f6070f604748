"""`fireside models measure`: what the quantizations of a model lose, and how fast they are, on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from fireside import engine_process, sources, table
from fireside.arguments import Parser, count
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject

_DESCRIPTION = """\
Compare the quantizations of a model with the best one that is there: KL divergence of the next token, how often the
likeliest token is the same, and tokens a second. One name measures all its quantizations. `fireside models fit` uses
what was measured from then on."""

_HEAD = ("QUANT", "FILE", "SIZE", "KL DIVERGENCE", "SAME TOKEN", "TOK/S", "PROMPT TOK/S")


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("models measure", _DESCRIPTION)
    parser.add_argument("models", nargs="+", metavar="NAME|FILE", help="a model, or several files of it")
    parser.add_argument("--against", metavar="NAME|FILE", help="compare with this one instead of the best")
    parser.add_argument("--text", metavar="TEXT|@FILE", help="a text of yours instead of the built-in one")
    parser.add_argument("--tokens", type=count, metavar="N", help="look at so many tokens of the text (768)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.read(words)
    narrator = Narrator()
    done: JsonObject = {}
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        body: JsonObject = {"models": [ModelChoice(word).resolve(client) for word in args.models]}
        if args.against:
            body["against"] = ModelChoice(args.against).resolve(client)
        if args.text:
            body["text"] = sources.text_or_file(args.text, narrator)
        if args.tokens:
            body["tokens"] = args.tokens
        with contextlib.closing(client.stream("/fireside/measure", body)) as events:
            for event in events:
                if "done" in event:
                    done = event["done"]
                else:
                    narrator.status(f"reading with {clean_line(event['file'])}: {event['fraction']:.0%}")
    finally:
        narrator.clear()
    Output().write(to_json_line(done) + "\n" if args.json else render(done))
    return ExitCode.OK


def render(done: JsonObject) -> str:
    rows = [_row(row) for row in sorted(done["rows"], key=lambda row: row.get("kld", -1.0))]
    note = f"Over {done['tokens']:,} tokens, against {clean_line(done['against'])}"
    if done["reference_kld"] > 0:
        note += f", which itself loses about {done['reference_kld']:.3f} by its class"
    return f"{table.render(_HEAD, rows)}{note}.\n"


def _row(row: JsonObject) -> list[str]:
    own = row["reference"]
    return [
        str(row["quant"]),
        str(row["name"]),
        table.size(row["size"]),
        "reference" if own else f"{row['kld']:.4f} ±{row['error']:.4f}",
        "" if own else f"{row['same_top']:.1%}",
        f"{row['tokens_per_second']:.1f}",
        f"{row['prompt_per_second']:.0f}",
    ]
