"""`fireside connect EDITOR`: the lines that make an editor or an agent use the engine of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fireside import engine_process
from fireside.arguments import Parser, did_you_mean, usage_error
from fireside.editors import EDITORS, lines_for
from fireside.exit_codes import ExitCode
from fireside.terminal import Narrator, Output
from fireside_engine import address

_DESCRIPTION = "Print the configuration that makes an editor or an agent use the engine. Starts and writes nothing."


def main(words: Sequence[str]) -> ExitCode:
    listed = "\n".join(f"  {name:<13}  {editor.title}" for name, editor in EDITORS.items())
    parser = Parser("connect", _DESCRIPTION, f"editors:\n{listed}")
    parser.add_argument("editor", nargs="?", metavar="EDITOR", help="one of those below; without it they are listed")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the model to name (FIRESIDE_MODEL, or the default)")
    args = parser.read(words)
    if args.editor is None:
        Output().write(listed + "\n")
        return ExitCode.OK
    editor = EDITORS.get(args.editor.lower())
    if editor is None:
        guess = did_you_mean(args.editor.lower(), EDITORS)
        raise usage_error(f"No editor is known as {args.editor}.", hint=f"{guess} {', '.join(EDITORS)}".strip())
    endpoint = engine_process.find()
    host, port = (endpoint.host, endpoint.port) if endpoint else ("127.0.0.1", address.DEFAULT_PORT)
    model = args.model or os.environ.get("FIRESIDE_MODEL") or "default"
    # A key is secret, and the terminal may be shared: its place is shown, not itself.
    key = "YOUR-API-KEY" if os.environ.get("FIRESIDE_API_KEY") else "none"
    narrator = Narrator()
    narrator.say(f"{editor.title}. In {editor.where}:")
    Output().write(lines_for(editor, host=host, port=port, model=model, key=key) + "\n")
    if editor.note:
        narrator.say(editor.note)
    if endpoint is None:
        narrator.say("No engine runs now, and editors start none: keep `fireside serve` running.")
    return ExitCode.OK
