"""`fireside run`: one prompt, one answer, made for pipes.

Standard output carries the answer and one newline after it, nothing else: the same bytes into a terminal, a pipe and a
file. Everything else is narration on standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

from fireside import app_settings, engine_process
from fireside.account import Ending
from fireside.answer import Answer
from fireside.client import EngineClient
from fireside.code import pick
from fireside.exit_codes import ExitCode
from fireside.failure import Failure, TimeLimitError
from fireside.progress import event_of
from fireside.recording import Recording
from fireside.run_parser import run_parser
from fireside.run_request import keep_alive_of, question_of, settings_of, shape_of, system_of
from fireside.sanitize import clean
from fireside.stats import stats_lines
from fireside.streaming import STREAM_OPTIONS, Display, stream_answer
from fireside.terminal import Narrator, Output, time_limit, to_json_line
from fireside.wire import JsonObject

BYTES_PER_TOKEN = 4.0
"""Of English text in the vocabularies of today; code has fewer, other languages have fewer still."""


def main(words: Sequence[str]) -> ExitCode:
    args = run_parser().read(words)
    narrator = Narrator(quiet=args.quiet)
    try:
        with time_limit(args.timeout):
            _run(args, narrator)
    finally:
        narrator.clear()
    return ExitCode.OK


def _run(args: argparse.Namespace, narrator: Narrator) -> None:
    chosen = app_settings.load()
    recording = Recording("last" if args.goes_on else args.cid, save=args.save and chosen.save)
    choice = recording.choice(args.model)
    question, settings = question_of(args, narrator), settings_of(args)
    shape, extension = shape_of(args, narrator)
    system = system_of(args, chosen, narrator)
    if args.deterministic:
        settings["deterministic"] = extension["deterministic"] = True
    if args.draft == "off":
        extension["speculate"] = False
    elif args.draft:
        extension["draft"] = args.draft
    body: JsonObject = {
        "messages": recording.messages(question.words, question.materials, system),
        **STREAM_OPTIONS,
        **{name: value for name, value in settings.items() if name != "deterministic"},
        **keep_alive_of(args.keep_alive),
        **shape,
        "fireside": {**extension, **recording.extension()},
    }
    if args.dry_run:
        _print_dry(body["messages"], Output(), narrator)
        return
    if args.thinking == "off":
        body["chat_template_kwargs"] = {"enable_thinking": False}
    endpoint = engine_process.connect(status=narrator.status, note=narrator.note)
    client = EngineClient(endpoint)
    body["model"] = choice.resolve(client)
    if args.force:
        # Only the owner may overfill the machine, so this is no part of the request itself.
        load: JsonObject = {"model": body["model"], "force": True}
        client.post("/fireside/load", load | ({"deterministic": True} if args.deterministic else {}))
    answer, output = Answer(), Output()
    began, first_text_s = time.monotonic(), None
    streams = not (args.json or args.ndjson or args.extract is not None)
    display = Display(narrator, output if streams else None, shows_thinking=args.thinking == "show")
    ending: Ending = "failed"
    try:
        on_chunk = _events_to(output) if args.ndjson else None
        first_text_s = stream_answer(client, body, answer, narrator, display, on_chunk)
        ending = "stop"
    except (KeyboardInterrupt, TimeLimitError, BrokenPipeError):
        ending = "stopped"
        raise
    finally:
        recording.keep(answer, ending, str(body["model"]), settings, narrator)
    _print_whole(args, answer, recording, output)
    if args.stats:
        narrator.say("\n".join(stats_lines(answer, first_text_s, time.monotonic() - began)))
    if args.schema is not None:
        _check_json(answer)


def _print_dry(messages: list[JsonObject], output: Output, narrator: Narrator) -> None:
    """What the model would read."""
    parts = [f"[{message['role']}]\n{message['content']}" for message in messages]
    output.write(clean("\n\n".join(parts)) + "\n")
    n = sum(len(str(message["content"]).encode()) for message in messages)
    narrator.note(f"fireside: about {max(1, round(n / BYTES_PER_TOKEN)):,} tokens; nothing was asked")


def _events_to(output: Output) -> Callable[[JsonObject], None]:
    """Prints what each chunk says as a line of its own."""

    def show(chunk: JsonObject) -> None:
        for event in event_of(chunk):
            output.write(to_json_line(event) + "\n")

    return show


def _print_whole(args: argparse.Namespace, answer: Answer, recording: Recording, output: Output) -> None:
    """What is printed when the answer is complete, in the forms that do not stream."""
    if args.json or args.ndjson:
        whole = {**answer.to_json(), "conversation_id": recording.conversation.id if recording.saves else None}
        output.write(to_json_line({"event": "done", **whole} if args.ndjson else whole) + "\n")
    elif args.extract is not None:
        code = pick(answer.text, args.extract)
        if code is None:
            what = f"{args.extract} code block" if args.extract else "code block"
            hint = "`fireside show last` shows what it says." if recording.saves else ""
            raise Failure(f"The answer has no {what}.", ExitCode.FAILED, hint=hint, code="no_code")
        output.write(code.text)


def _check_json(answer: Answer) -> None:
    try:
        json.loads(answer.text)
    except ValueError as cause:
        if answer.finish_reason == "length":
            message = "The answer was cut off at its limit of tokens, so it is not complete JSON."
            raise Failure(message, ExitCode.FAILED, hint="Allow more with -n.", code="schema_violated") from cause
        raise Failure("The answer is not valid JSON.", ExitCode.FAILED, code="schema_violated") from cause
