"""The options of `fireside run`."""

from __future__ import annotations

from fireside.arguments import Parser, count, number, positive, whole
from fireside.stdin import StdinMode

_DESCRIPTION = """\
Answer one prompt. The prompt is the words given, the files, and what comes through the pipe: files and pipe first,
the words last. Without words, what comes through the pipe is the prompt itself.

  fireside run "Why is the sky blue?"
  git diff | fireside run "Review this."
  fireside run -c "And in winter?"
  fireside run -f notes.md --schema 'title, year:int' "What is it about?" | jq .
  fireside run -x sql "A table of books" > books.sql

Standard output carries the answer and one newline after it. Question and answer are saved as a conversation, unless
--no-save is given; `fireside ls` lists them."""
FIRST_OF_ANY = ""
"""What `-x` without a language asks for."""
THINKING = ("hide", "show", "off")


def run_parser() -> Parser:
    parser = Parser("run", _DESCRIPTION)
    add = parser.add_argument
    add("prompt", nargs="*", metavar="PROMPT", help="the instruction; several words are joined by spaces")
    add("-m", "--model", metavar="MODEL", help="a model's name, or the path of a .gguf file")
    add("-s", "--system", metavar="TEXT|@FILE", help="the system prompt")
    add("-p", "--persona", metavar="NAME", help="a system prompt by its name; `fireside config set personas.NAME …`")
    add("-f", "--file", metavar="FILE", action="append", default=[], help="a text file; again for each; - is stdin")
    add("--stdin", type=StdinMode, choices=list(StdinMode), default=StdinMode.AUTO, help="read stdin: auto, if piped")
    _add_conversation(parser)
    _add_generation(parser)
    _add_shape(parser)
    _add_output(parser)
    return parser


def _add_conversation(parser: Parser) -> None:
    group = parser.add_argument_group("conversation")
    which = group.add_mutually_exclusive_group().add_argument
    which("-c", "--continue", dest="goes_on", action="store_true", help="go on with the last conversation")
    which("--cid", metavar="ID", help="go on with this conversation; the beginning of its id is enough")
    group.add_argument("--no-save", dest="save", action="store_false", help="keep nothing of it")


def _add_generation(parser: Parser) -> None:
    add = parser.add_argument_group("generation").add_argument
    add("-t", "--temperature", type=number, metavar="T", help="0 always takes the most likely token")
    add("-n", "--max-tokens", type=count, metavar="N", help="end after this many tokens")
    add("--seed", type=whole, metavar="N", help="the same seed and prompt give the same text")
    add("--top-p", type=number, metavar="P", help="keep the smallest set with this probability")
    add("--top-k", type=whole, metavar="K", help="keep the K most likely tokens")
    add("--min-p", type=number, metavar="P", help="drop tokens below this share of the most likely one")
    add("--stop", metavar="STRING", action="append", default=[], help="end before this text; again for each")
    add("--deterministic", action="store_true", help="byte for byte the same text, whatever else runs")
    add("--force", action="store_true", help="load the model even where it should not fit into memory")
    add("--draft", metavar="MODEL", help="the model that drafts; auto, or off to decode token by token")
    add("--keep-alive", metavar="TIME", help="keep the model loaded this long afterwards: seconds, 5m, 2h")


def _add_shape(parser: Parser) -> None:
    group = parser.add_argument_group("the shape of the answer")
    add = group.add_mutually_exclusive_group().add_argument
    add("--schema", metavar="SCHEMA", help="JSON, a file, or words such as 'name, age:int, mood:good|bad, tags:str[]'")
    add("--regex", metavar="REGEX", help="a regular expression that the answer must match")
    add("--grammar", metavar="FILE", help="a GBNF grammar, or a Lark grammar in a file that ends in .lark")
    group.add_argument("--multi", action="store_true", help='with --schema: {"items": […]}, a list of such answers')


def _add_output(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    form = group.add_mutually_exclusive_group().add_argument
    form("--json", action="store_true", help="one JSON object with text, usage and timings; errors are JSON too")
    form("--ndjson", action="store_true", help="an event in each line: loading, progress, thinking, text, done")
    form(
        "-x",
        "--extract",
        nargs="?",
        const=FIRST_OF_ANY,
        metavar="LANG",
        help="only the first code block of the answer, or the first one of this language; last among the options",
    )
    add = group.add_argument
    add("--thinking", choices=THINKING, default="hide", help="of models that think: hide it, show it on stderr, or off")
    add("--stats", action="store_true", help="tell on stderr what the answer cost")
    add("-q", "--quiet", action="store_true", help="no progress and no notes on stderr")
    add("--dry-run", action="store_true", help="print what would be asked, and about how many tokens; ask nothing")
    add("--timeout", type=positive, metavar="SECONDS", help="give up after this time, with exit code 124")
