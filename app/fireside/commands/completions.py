"""`fireside completions`: completion scripts and the manual page, on standard output."""

from __future__ import annotations

from collections.abc import Sequence

from fireside.arguments import Parser
from fireside.exit_codes import ExitCode
from fireside.terminal import Output

WHAT = ("bash", "zsh", "fish", "man")
_EPILOG = """\
fireside completions bash > ~/.local/share/bash-completion/completions/fireside
fireside completions zsh  > a folder of $fpath, as _fireside
fireside completions fish > ~/.config/fish/completions/fireside.fish
fireside completions man  > ~/.local/share/man/man1/fireside.1"""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("completions", "Print a completion script, or the manual page.", _EPILOG)
    parser.add_argument("shell", choices=WHAT, help="for which shell, or man")
    args = parser.read(words)
    if args.shell == "man":
        from fireside.manual import page

        Output().write(page())
    else:
        from fireside.completions import SHELLS

        Output().write(SHELLS[args.shell]())
    return ExitCode.OK
