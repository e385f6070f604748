"""Nothing but a pull, and a tier elsewhere that the user put into a roster, uses the network: by the imports of every
module, and by what running processes do."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from cli_driver import fireside

ROOT = Path(__file__).parents[2]
DOOR = ROOT / "engine" / "fireside_engine" / "models" / "hub.py"
REMOTE = ROOT / "engine" / "fireside_engine" / "server" / "routing" / "remote.py"
"""Tiers elsewhere, where the user put one into the roster of `auto`."""
CLIENTS = {"huggingface_hub", "httpx2", "httpx", "requests", "urllib3", "aiohttp", "ftplib", "smtplib", "xmlrpc"}
CLIENT_MODULES = {"http.client", "urllib.request"}
"""What speaks to other machines. A bare socket is looked at while it runs."""

AUDIT = """
import ipaddress, os, sys

def audit(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event == "socket.sendto" and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or "localhost"
    try:
        known = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        known = host == "localhost"
    with open(os.environ["AUDIT_LOG"], "a") as log:
        log.write(f"{'inside' if known else 'OUTSIDE'} {event} {host} {sys.argv}\\n")
    if not known:
        raise PermissionError(f"the network: {host}")

sys.addaudithook(audit)
"""


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def test_two_modules_have_a_client_for_the_network() -> None:
    modules = [path for folder in ("app", "engine") for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 100
    assert DOOR in modules
    users = {
        path
        for path in modules
        if any(name.partition(".")[0] in CLIENTS or name in CLIENT_MODULES for name in imports(path))
    }
    assert users == {DOOR, REMOTE}


def test_one_process_uses_that_module() -> None:
    """And it is imported where something is to be fetched, not before."""
    users = {
        path.name
        for folder in ("app", "engine")
        for path in (ROOT / folder).rglob("*.py")
        if any(name.startswith("fireside_engine.models.hub") and "hub_file" not in name for name in imports(path))
    }
    assert users == {"acquire_child.py"}


@pytest.fixture
def audited(tmp_path: Path) -> dict[str, str]:
    """An environment in which every Python process of the program reports what it connects to."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(AUDIT)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "AUDIT_LOG": str(tmp_path / "audit.log")}


def log(environment: dict[str, str]) -> str:
    path = Path(environment["AUDIT_LOG"])
    return path.read_text() if path.exists() else ""


def test_the_audit_sees_a_pull(audited: dict[str, str]) -> None:
    """Or the tests below would prove nothing."""
    done = fireside("pull", "hf:nobody/Lamp", env={**audited, "HF_ENDPOINT": "http://hub.invalid"})
    assert done.code != 0
    assert "OUTSIDE socket.getaddrinfo hub.invalid" in log(audited)


def test_commands_and_the_engine_stay_inside(audited: dict[str, str]) -> None:
    try:
        for words in (["models"], ["ps"], ["doctor"], ["pull", "/nowhere/x.gguf"], ["run", "-m", "nothing", "hi"]):
            fireside(*words, env=audited)
    finally:
        fireside("stop", env=audited)
    assert "inside socket.connect 127.0.0.1" in log(audited)
    assert "OUTSIDE" not in log(audited)


@pytest.mark.model
def test_an_answer_needs_no_network(audited: dict[str, str], smollm2: Path) -> None:
    try:
        done = fireside("run", "-m", str(smollm2), "-n", "2", "hi", env={**audited, "HF_HUB_OFFLINE": "0"})
    finally:
        fireside("stop", env=audited)
    assert done.code == 0
    assert "inside socket.connect 127.0.0.1" in log(audited)
    assert "OUTSIDE" not in log(audited)
