"""Renders a model's chat template, in a process that may be killed. `python -m fireside_engine.worker.render_child`

A chat template is a program that comes with a model file. Jinja's sandbox keeps it from the machine, but not from
endless loops or from doubling a string until memory ends; this process has limits for both, and whoever started it
kills it at a deadline. Frames as in `worker/protocol.py`, JSON inside: first `{template, bos, eos}`, then one request
for each rendering, each answered by `{text}` or `{error, cause}`. End of input ends the process.

It imports nothing else of the engine: it must start in a moment.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

MAX_MEMORY = 1 << 30
MAX_CPU_SECONDS = 4
"""For one rendering; the limit that still holds when whoever should kill this process is gone."""
MAX_OUTPUT = 4 << 20
MAX_FRAME = 256 << 20
MAX_MESSAGE = 300

_HEADER = struct.Struct("<I")

Frame = dict[str, Any]


class Refused(Exception):
    """The template called `raise_exception`."""


class OutputTooLarge(Exception):
    """The rendered text passed MAX_OUTPUT."""


class Generation(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` of transformers marks text for training; here it passes through."""

    tags = {"generation"}  # noqa: RUF012  (as Jinja declares it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As in transformers: plain JSON. Jinja's own filter escapes for HTML, which models have never seen."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> None:
    raise Refused(str(message))


def strftime_now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005  (templates want the reader's own date)


def compile_template(source: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment.from_string(source)


def render(template: jinja2.Template, request: Frame, bos: str, eos: str) -> str:
    context: Frame = {
        **request["args"],
        "messages": request["messages"],
        "tools": request["tools"],
        "documents": None,
        "add_generation_prompt": request["add_generation_prompt"],
        "bos_token": bos,
        "eos_token": eos,
    }
    pieces: list[str] = []
    size = 0
    for piece in template.generate(context):
        # UTF-8 has at least one byte for each character.
        size += len(piece)
        if size > MAX_OUTPUT:
            raise OutputTooLarge
        pieces.append(piece)
    text = "".join(pieces)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_OUTPUT:
        raise OutputTooLarge
    return text


def guarded(work: Callable[[], str | None]) -> Frame:
    """Run template code; whatever it raises becomes an answer."""
    try:
        return {"text": work()}
    except (MemoryError, OutputTooLarge) as error:
        what = f"text of more than {MAX_OUTPUT >> 20} MiB" if isinstance(error, OutputTooLarge) else "too much memory"
        return {"error": f"it makes {what}", "cause": "limit"}
    except Refused as error:
        return {"error": str(error)[:MAX_MESSAGE], "cause": "refused"}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"[:MAX_MESSAGE], "cause": "syntax"}
    except jinja2.TemplateError as error:
        return {"error": str(error.message)[:MAX_MESSAGE], "cause": "refused"}
    except Exception as error:  # noqa: BLE001  (template code raises what it likes; the text may quote a prompt)
        return {"error": f"{type(error).__name__} in the template", "cause": "refused"}


def limit_resources() -> None:
    """Memory and core files. Where a system knows no such limit, the deadline of the parent is what remains."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def limit_cpu() -> None:
    """Allow MAX_CPU_SECONDS from now on."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        soft = math.ceil(usage.ru_utime + usage.ru_stime) + MAX_CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def receive(stream: BinaryIO) -> Frame | None:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME:
        return None
    body = stream.read(length)
    if len(body) < length:
        return None
    frame: Frame = json.loads(body)
    return frame


def send(stream: BinaryIO, frame: Frame) -> None:
    body = json.dumps(frame).encode()
    stream.write(_HEADER.pack(len(body)) + body)
    stream.flush()


def main() -> None:
    limit_resources()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    opening = receive(source)
    if opening is None:
        return
    limit_cpu()
    compiled: list[jinja2.Template] = []
    send(sink, guarded(lambda: compiled.append(compile_template(opening["template"]))))
    while compiled and (request := receive(source)) is not None:
        limit_cpu()
        answer = guarded(lambda request=request: render(compiled[0], request, opening["bos"], opening["eos"]))  # type: ignore[misc]
        send(sink, answer)


if __name__ == "__main__":
    # The parent is gone when the pipe breaks, and with it the reason to say anything.
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
