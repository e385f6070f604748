"""`fireside run`: one prompt, one answer, made for pipes.

Standard output carries the answer and one newline after it, nothing else: the same bytes into a terminal, a pipe and a
file. Everything else is narration on standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from fireside import engine_process, sources
from fireside.answer import Answer
from fireside.arguments import Parser, count, number, positive, usage_error, whole
from fireside.client import EngineClient
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.models import ModelChoice
from fireside.prompt import Material, lay_out
from fireside.stats import stats_lines
from fireside.stdin import StdinMode
from fireside.streaming import STREAM_OPTIONS, stream_answer
from fireside.terminal import Narrator, Output, time_limit, to_json_line
from fireside.wire import JsonObject

_DESCRIPTION = """\
Answer one prompt. The prompt is the words given, the files, and what comes through the pipe: files and pipe first,
the words last. Without words, what comes through the pipe is the prompt itself.

  fireside run "Why is the sky blue?"
  git diff | fireside run "Review this."
  fireside run -f notes.md --schema schema.json "Extract the dates." | jq .

Standard output carries the answer and one newline after it."""


def _parser() -> Parser:
    parser = Parser("run", _DESCRIPTION)
    add = parser.add_argument
    add("prompt", nargs="*", metavar="PROMPT", help="the instruction; several words are joined by spaces")
    add("-m", "--model", metavar="MODEL", help="a model's name, or the path of a .gguf file")
    add("-s", "--system", metavar="TEXT|@FILE", help="the system prompt")
    add("-f", "--file", metavar="FILE", action="append", default=[], help="a text file; again for each; - is stdin")
    add("--stdin", type=StdinMode, choices=list(StdinMode), default=StdinMode.AUTO, help="read stdin: auto, if piped")
    sampling = parser.add_argument_group("generation").add_argument
    sampling("-t", "--temperature", type=number, metavar="T", help="0 always takes the most likely token")
    sampling("-n", "--max-tokens", type=count, metavar="N", help="end after this many tokens")
    sampling("--seed", type=whole, metavar="N", help="the same seed and prompt give the same text")
    sampling("--top-p", type=number, metavar="P", help="keep the smallest set with this probability")
    sampling("--top-k", type=whole, metavar="K", help="keep the K most likely tokens")
    sampling("--min-p", type=number, metavar="P", help="drop tokens below this share of the most likely one")
    sampling("--stop", metavar="STRING", action="append", default=[], help="end before this text; again for each")
    sampling("--deterministic", action="store_true", help="byte for byte the same text, whatever else runs")
    sampling("--keep-alive", metavar="TIME", help="keep the model loaded this long afterwards: seconds, 5m, 2h")
    shapes = parser.add_argument_group("the shape of the answer").add_mutually_exclusive_group().add_argument
    shapes("--schema", metavar="JSON|FILE", help="a JSON schema that the answer must satisfy")
    shapes("--regex", metavar="REGEX", help="a regular expression that the answer must match")
    shapes("--grammar", metavar="FILE", help="a GBNF grammar, or a Lark grammar in a file that ends in .lark")
    output = parser.add_argument_group("output").add_argument
    output("--json", action="store_true", help="one JSON object with text, usage and timings; errors are JSON too")
    output("--stats", action="store_true", help="tell on stderr what the answer cost")
    output("-q", "--quiet", action="store_true", help="no progress and no notes on stderr")
    output("--timeout", type=positive, metavar="SECONDS", help="give up after this time, with exit code 124")
    return parser


def main(words: Sequence[str]) -> ExitCode:
    args = _parser().read(words)
    narrator = Narrator(quiet=args.quiet)
    try:
        with time_limit(args.timeout):
            _run(args, narrator)
    finally:
        narrator.clear()
    return ExitCode.OK


def _run(args: argparse.Namespace, narrator: Narrator) -> None:
    choice = ModelChoice(args.model)
    body = _request(args, narrator)
    endpoint = engine_process.connect(status=narrator.status, note=narrator.note)
    client = EngineClient(endpoint)
    body["model"] = choice.resolve(client)
    began, answer, output = time.monotonic(), Answer(), Output()
    first_text_s = stream_answer(client, body, answer, narrator, None if args.json else output)
    if args.json:
        output.write(to_json_line(answer.to_json()) + "\n")
    if args.stats:
        narrator.say("\n".join(stats_lines(answer, first_text_s, time.monotonic() - began)))
    if args.schema is not None:
        _check_json(answer)


def _request(args: argparse.Namespace, narrator: Narrator) -> JsonObject:
    """The body of the request, without its model. Reads every file and standard input; raises Failure."""
    messages = [{"role": "user", "content": _question(args, narrator)}]
    if args.system is not None:
        messages.insert(0, {"role": "system", "content": sources.text_or_file(args.system, narrator)})
    optional = {
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "min_p": args.min_p,
        "stop": args.stop or None,
        "keep_alive": _keep_alive(args.keep_alive),
    }
    body: JsonObject = {
        "messages": messages,
        **STREAM_OPTIONS,
        **{name: value for name, value in optional.items() if value is not None},
    }
    extension: JsonObject = {"deterministic": True} if args.deterministic else {}
    if args.schema is not None:
        shape = {"name": "answer", "schema": sources.schema(args.schema, narrator)}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    if args.regex is not None:
        extension["regex"] = args.regex
    if args.grammar is not None:
        is_lark = args.grammar.endswith(".lark")
        (extension if is_lark else body)["lark" if is_lark else "grammar"] = sources.read_file(args.grammar, narrator)
    if extension:
        body["fireside"] = extension
    return body


def _question(args: argparse.Namespace, narrator: Narrator) -> str:
    instruction = " ".join(args.prompt)
    given = bool(instruction or args.file)
    piped, files = sources.materials(args.file, args.stdin, prompt_given=given, narrator=narrator)
    blocks: list[Material] = [*([piped] if piped else []), *files]
    if piped and not instruction:
        # `echo` ends its line; as the whole prompt that is no part of the question.
        blocks, instruction = files, piped.text.rstrip("\n")
    if args.file:
        for word in filter(sources.is_regular, args.prompt):
            narrator.note(f"fireside: `{word}` was taken as a word of the prompt; each file needs its own -f")
    question = lay_out(blocks, instruction)
    if not question.strip():
        raise usage_error("There is nothing to ask.", hint='Give a prompt: fireside run "…", or … | fireside run')
    return question


def _keep_alive(value: str | None) -> float | str | None:
    """Seconds where it is a number; the engine reads words such as 5m itself."""
    if value is None:
        return None
    try:
        return number(value)
    except argparse.ArgumentTypeError:
        return value


def _check_json(answer: Answer) -> None:
    try:
        json.loads(answer.text)
    except ValueError as cause:
        if answer.finish_reason == "length":
            message = "The answer was cut off at its limit of tokens, so it is not complete JSON."
            raise Failure(message, ExitCode.FAILED, hint="Allow more with -n.", code="schema_violated") from cause
        raise Failure("The answer is not valid JSON.", ExitCode.FAILED, code="schema_violated") from cause
