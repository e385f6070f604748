"""`python -m fireside_engine.models.acquire_child`: one pull in a process of its own, told about as lines of JSON.

This is the only process of fireside that uses the network. It has the environment of whoever asked, so HF_TOKEN and its
like never reach the engine, and it can be interrupted at any point. Lines are events: `progress`, then one of
`done`, `choice` (of a dry run), `peeked` (the header was fetched) and `error`. It leaves when nobody
reads them any more.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from fireside_engine import address
from fireside_engine.errors import FiresideError, InternalError
from fireside_engine.models import names
from fireside_engine.models.acquire import Acquirer, Choice, Source
from fireside_engine.models.acquire_progress import Progress, to_event
from fireside_engine.models.catalogue import default_catalogue
from fireside_engine.models.catalogue_schema import FILE_NAME
from fireside_engine.models.user_catalogue import UserCatalogue

INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0 when the model is there, 1 after an `error`, 130 after an interruption."""
    parser = argparse.ArgumentParser(prog="acquire_child")
    parser.add_argument("target")
    parser.add_argument("--quant", default="")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--peek", action="store_true")
    args = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _interrupt)
    # What huggingface_hub would say on standard error reaches the user as an event.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        acquirer = Acquirer(
            default_catalogue(), UserCatalogue(address.config_dir() / FILE_NAME), _hub, lambda report: _tell(report)
        )
        if args.peek:
            choice, found = acquirer.peek(args.target, address.cache_dir(), quant=args.quant)
            header = {"header": str(found.path), "fetched": found.fetched}
            _write({**_of_choice(choice), "event": "peeked", **header})
        elif args.dry_run:
            _write(_of_choice(acquirer.choose(args.target, quant=args.quant)))
        else:
            _write(to_event(acquirer.acquire(args.target, quant=args.quant, check=args.check)))
    except FiresideError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os._exit(INTERRUPTED)  # nothing can be told any more, and Python would try to at exit
    except Exception as error:
        logging.getLogger(__name__).exception("a pull failed by a defect")
        return _fail(InternalError(f"The download failed by a defect: {type(error).__name__}: {error}."))
    return 0


def _hub() -> Source:
    from fireside_engine.models.hub import Hub

    return Hub()


def _tell(report: Progress) -> None:
    _write(to_event(report))


def _fail(error: FiresideError) -> int:
    _write({"event": "error", "error": error.to_dict()})
    return 1


def _of_choice(choice: Choice) -> dict[str, Any]:
    usual = choice.model
    return {
        "event": "choice",
        "repo": choice.listing.repo,
        "commit": choice.listing.commit,
        "licence": choice.listing.licence,
        "unconfirmed": choice.unconfirmed,
        "name": choice.known_as or usual.stem,
        "path": str(choice.staging.final),
        "there": str(choice.there) if choice.there else None,
        "files": [{"path": file.path, "size": file.size} for file in usual.files],
        "size": usual.size,
        "missing": choice.missing,
        "models": [
            {"stem": names.clean(model.stem), "quant": model.quant, "size": model.size, "chosen": model == usual}
            for model in choice.listing.models
        ],
    }


def _write(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
