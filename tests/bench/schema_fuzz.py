"""schemathesis over the OpenAPI document, against the real server.

usage: python tests/bench/schema_fuzz.py [--examples N] [--model FILE] [--seed N] [--path REGEX]

Workers are fake, so that thousands of requests cost seconds; with --model they are real and have that file. Every
operation is called, management with the owner's token too, but for those that stop the engine or take minutes. A
finding is a status above 500 but 501 (which a feature that a model lacks may have), a status or a content type that
the document does not know, an answer that is not of its schema, or a request against the schema that was taken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_engine import running, write_model
from fireside_engine.server.settings import Settings

LEFT_OUT = "^/fireside/(stop|remove|quantize|measure|register)$|^/api/delete$"
PLANNED = "|^/fireside/(fit|show|machine|downloads)$"
"""A fake engine has no planner for these."""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CONFIG = """\
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
"""


def with_names(document: Any) -> Any:
    """Names of models that there are: all others end in a 404 before anything interesting happens."""
    for schema in document["components"]["schemas"].values():
        if "model" in schema.get("properties", {}) and "description" in schema:
            schema["properties"]["model"] = {"enum": ["small", "", "nobody"]}
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in ("name", "model"):
                    parameter["schema"] = {"enum": ["small", "nobody"]}
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50, help="for each operation and phase")
    parser.add_argument("--model", type=Path, help="a real GGUF file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--path", default="", help="only paths that match")
    parser.add_argument("--checks", default=CHECKS)
    parser.add_argument("--phases", default="examples,coverage,fuzzing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ.update(FIRESIDE_HOME=folder, FIRESIDE_OTHER_STORES="0")
        write_model("small")
        changes = {}
        if args.model is not None:
            (home / "models" / "small.gguf").unlink()
            (home / "models" / "small.gguf").symlink_to(args.model.resolve())
            real = Settings()
            changes = {"worker_command": real.worker_command, "planner": real.planner, "ping": real.ping}
        with running(home / "journal", **changes) as engine:
            assert engine.ask("GET", "/health").status == 200
            config = home / "schemathesis.toml"
            config.write_text(CONFIG, encoding="utf-8")
            described = home / "openapi.json"
            described.write_text(json.dumps(with_names(engine.ask("GET", "/openapi.json").json)), encoding="utf-8")
            left_out = LEFT_OUT + ("" if args.model else PLANNED)
            command = ["schemathesis", "--config-file", str(config), "run", str(described), "--url", engine.url]
            command += ["--header", f"Authorization: Bearer {engine.token}", "--exclude-path-regex", left_out]
            command += ["--checks", args.checks, "--phases", args.phases, "--max-examples", str(args.examples)]
            command += ["--seed", str(args.seed), "--request-timeout", "30", "--continue-on-failure", "--no-color"]
            if args.path:
                command += ["--include-path-regex", args.path]
            return subprocess.run(command, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
