"""Names in requests are never paths: on every route that takes one, a file outside the models folder stays closed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.routing import Route

from fake_engine import Running, running_apart, write_model

SECRET = "outside-secret"
seen: list[str] = []
_listening: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in ("open", "os.remove", "os.rename", "shutil.rmtree", "os.listdir") and arguments:
        seen.append(str(arguments[0]))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    sys.addaudithook(_hook)
    home = tmp_path_factory.mktemp("home")
    with running_apart(home, "small") as engine:
        target = home / f"{SECRET}.gguf"
        target.write_bytes(write_model("small").read_bytes())
        _listening.append(True)
        try:
            yield engine
        finally:
            _listening.clear()


def names(home: Path) -> list[str]:
    secret = home / f"{SECRET}.gguf"
    return [
        f"../{SECRET}", f"../{SECRET}.gguf", str(secret), f"file://{secret}", f"..\\{SECRET}.gguf",
        f"%2e%2e%2f{SECRET}.gguf", f"small/../../{SECRET}.gguf", f"../{SECRET}.gguf\0", f"hf.co/../{SECRET}",
        "a" * 4096, "/etc/passwd", SECRET,
    ]  # fmt: skip


def test_no_route_opens_what_a_name_points_at(engine: Running) -> None:
    home = engine.journal.parent
    assert engine.server is not None
    app: Any = engine.server.config.app
    routes = [(m, r.path) for r in app.routes if isinstance(r, Route) for m in sorted(r.methods or ())]
    # The owner may name files by path, and is asked for with a token.
    owners = {"/fireside/register", "/fireside/stop"}
    asked = {"/props", "/slots", "/fireside/catalogue"}
    tried = 0
    for method, path in routes:
        takes_name = method in ("POST", "DELETE") or (method == "GET" and ("{" in path or path in asked))
        if not takes_name or path in owners:
            continue
        for name in names(home):
            body = {
                "model": name, "name": name, "draft": name, "input": "x", "prompt": "x", "content": "x", "tokens": [1],
                "input_prefix": "x", "input_suffix": "y", "messages": [{"role": "user", "content": "words=1"}],
                "stream": False, "path": name, "models": [name], "max_tokens": 1, "previous_response_id": name,
                "conversation": name, "conversations": [name],
            }  # fmt: skip
            filled = path.replace("{name:path}", quote(name, safe="/%:~.")).replace("{id}", quote(name, safe=""))
            query = f"?model={quote(name)}&name={quote(name)}&query={quote(name)}" if method == "GET" else ""
            reply = engine.ask(method, filled + query, json.dumps(body).encode(), owner=True)
            assert reply.status < 500 or b"no planner" in reply.body, (method, path, name, reply.body[:200])
            assert SECRET.encode() not in reply.body or reply.status >= 400, (method, path, name)
            tried += 1
    assert tried > 300
    assert (home / f"{SECRET}.gguf").exists()
    touched = [path for path in seen if SECRET in path or "passwd" in path]
    assert touched == []
    assert seen, "the hook heard something"
