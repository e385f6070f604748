"""`fireside doctor`: checks this installation and this machine, and says what to do."""

from __future__ import annotations

from collections.abc import Sequence

from fireside import diagnosis
from fireside.arguments import Parser
from fireside.exit_codes import ExitCode
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line

_MARKS = {diagnosis.Verdict.OK: "ok  ", diagnosis.Verdict.WARN: "warn", diagnosis.Verdict.BROKEN: "FAIL"}


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("doctor", "Check this installation and this machine. Exit code 1 if something is broken.")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.read(words)
    narrator = Narrator()
    narrator.status("looking around")
    try:
        checks = diagnosis.diagnose()
    finally:
        narrator.clear()
    broken = any(check.verdict is diagnosis.Verdict.BROKEN for check in checks)
    if args.json:
        Output().write(to_json_line({"ok": not broken, "checks": [check._asdict() for check in checks]}) + "\n")
    else:
        Output().write(render(checks))
    return ExitCode.FAILED if broken else ExitCode.OK


def render(checks: list[diagnosis.Check]) -> str:
    lines = []
    for check in checks:
        lines.append(f"{_MARKS[check.verdict]}  {check.name:<10} {clean_line(check.words)}")
        if check.hint:
            lines.append(f"{'':<17}{clean_line(check.hint)}")
    return "".join(f"{line}\n" for line in lines)
