"""`fireside models quantize`: makes smaller files of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from fireside import engine_process, table
from fireside.arguments import Parser, usage_error
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import JsonObject

_DESCRIPTION = """\
Make smaller files of a model, in the models folder. The best source is F16 or BF16; a source that is quantized
already passes its loss on.

  fireside models quantize my-model-f16 --to Q8_0,Q4_K_M"""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("models quantize", _DESCRIPTION)
    parser.add_argument("model", metavar="NAME|FILE", help="the model to make them from")
    parser.add_argument("--to", required=True, metavar="QUANT[,QUANT…]", help="e.g. Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS")
    parser.add_argument("--json", action="store_true", help="one JSON object with what was made")
    args = parser.read(words)
    quants = [quant.strip() for quant in args.to.split(",") if quant.strip()]
    if not quants:
        raise usage_error("Give at least one quantization: --to Q4_K_M")
    narrator = Narrator()
    done: JsonObject = {}
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        body = {"model": ModelChoice(args.model).resolve(client), "to": quants}
        with contextlib.closing(client.stream("/fireside/quantize", body)) as events:
            for event in events:
                if "done" in event:
                    done = event["done"]
                elif "skipped" in event:
                    narrator.note(clean_line(event["skipped"]))
                else:
                    narrator.status(f"making {clean_line(event['quant'])}: {event['fraction']:.0%}")
    finally:
        narrator.clear()
    Output().write(to_json_line(done) + "\n" if args.json else render(done))
    return ExitCode.OK


def render(done: JsonObject) -> str:
    lines = [f"{clean_line(made['name'])}  {table.size(made['size'])}\n" for made in done.get("made", [])]
    if done.get("note") and lines:
        lines.append(f"{clean_line(done['note'])}\n")
    return "".join(lines) or "Nothing was made.\n"
