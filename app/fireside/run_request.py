"""From the options of `fireside run` to a question and the request's other members. Reads files and standard input."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from fireside import sources
from fireside.app_settings import AppSettings
from fireside.arguments import number, usage_error
from fireside.prompt import Material, lay_out
from fireside.terminal import Narrator
from fireside.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: material first, then words."""

    materials: tuple[Material, ...]
    words: str


def question_of(args: argparse.Namespace, narrator: Narrator) -> Question:
    """Raises Failure."""
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
    if not lay_out(blocks, instruction).strip():
        raise usage_error("There is nothing to ask.", hint='Give a prompt: fireside run "…", or … | fireside run')
    return Question(tuple(blocks), instruction)


def system_of(args: argparse.Namespace, settings: AppSettings, narrator: Narrator) -> str | None:
    """The system prompt that was given, by its text, file or name. Raises Failure."""
    if args.system is not None and args.persona is not None:
        raise usage_error("Give a system prompt or a persona, not both.")
    given = settings.persona(args.persona) if args.persona is not None else args.system
    return None if given is None else sources.text_or_file(given, narrator)


def settings_of(args: argparse.Namespace) -> JsonObject:
    """What the answer is asked with, in the API's names; what was not given is missing."""
    given = {
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "min_p": args.min_p,
        "stop": args.stop or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def shape_of(args: argparse.Namespace, narrator: Narrator) -> tuple[JsonObject, JsonObject]:
    """Members of the body, and of its `fireside`, that say what the answer must look like. Raises Failure."""
    body: JsonObject = {}
    extension: JsonObject = {}
    if args.multi and args.schema is None:
        raise usage_error("--multi needs --schema.")
    if args.schema is not None:
        schema = sources.schema(args.schema, narrator, multi=args.multi)
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    if args.regex is not None:
        extension["regex"] = args.regex
    if args.grammar is not None:
        is_lark = args.grammar.endswith(".lark")
        (extension if is_lark else body)["lark" if is_lark else "grammar"] = sources.read_file(args.grammar, narrator)
    return body, extension


def keep_alive_of(value: str | None) -> JsonObject:
    """Seconds where it is a number; the engine reads words such as 5m itself."""
    if value is None:
        return {}
    try:
        return {"keep_alive": number(value)}
    except argparse.ArgumentTypeError:
        return {"keep_alive": value}
