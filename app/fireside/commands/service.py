"""`fireside service`: the engine as a service of the user's own. Writes files; switches nothing on unasked."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fireside.arguments import Parser, usage_error, whole
from fireside.exit_codes import ExitCode
from fireside.failure import Failure
from fireside.service_files import Command, Plan, Wanted, launchd, systemd, task_scheduler
from fireside.terminal import Narrator, Output
from fireside_engine import address

_DESCRIPTION = """\
Have the system run the engine for editors: with systemd a socket that starts it with the first request, with launchd
and the Task Scheduler an engine that starts at login. `install` writes the files and shows what switches them on;
with --enable it does that too. Nothing of it needs an administrator."""
_KEPT = (address.HOME_VARIABLE, "FIRESIDE_OTHER_STORES")
"""Variables of this shell that the engine needs to be the same engine."""


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("service", _DESCRIPTION)
    parser.add_argument("action", choices=("install", "uninstall", "status"))
    parser.add_argument("--port", type=whole, default=address.DEFAULT_PORT, help=f"instead of {address.DEFAULT_PORT}")
    parser.add_argument("--enable", action="store_true", help="install: switch it on as well")
    parser.add_argument("--dry-run", action="store_true", help="show the files and commands, and do nothing")
    args = parser.read(words)
    if not 0 < args.port < 65536:
        raise usage_error(f"{args.port} is no port; they go from 1 to 65535.")
    plan = plan_for(sys.platform, args.port)
    if args.action == "install":
        return _install(plan, enable=args.enable, dry_run=args.dry_run)
    if args.action == "uninstall":
        return _uninstall(plan, dry_run=args.dry_run)
    return _status(plan)


def plan_for(platform: str, port: int) -> Plan:
    """For this user and this installation."""
    environment = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    wanted = Wanted(address.engine_command(), port, environment)
    if platform == "darwin":
        return launchd(wanted, Path.home(), os.getuid(), address.log_dir() / "engine.out")
    if platform == "win32":
        return task_scheduler(wanted, address.config_dir(), getpass.getuser())
    return systemd(wanted, Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"))


def _install(plan: Plan, *, enable: bool, dry_run: bool) -> ExitCode:
    out = Output()
    if dry_run:
        for file in plan.files:
            text = file.content.decode("utf-16" if file.content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
            out.write(f"# {file.path}\n{text}\n")
        out.write(_shown(plan.enable))
        return ExitCode.OK
    for file in plan.files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(file.content)
        out.write(f"{file.path} is written.\n")
    if not enable:
        Narrator().say(f"Nothing is switched on yet. {plan.kind} does with:")
        out.write(_shown(plan.enable))
        return ExitCode.OK
    for command in plan.enable:
        _run(command)
    out.write("The service is on.\n")
    return ExitCode.OK


def _uninstall(plan: Plan, *, dry_run: bool) -> ExitCode:
    out = Output()
    there = [file.path for file in plan.files if file.path.exists()]
    if dry_run:
        removed = "".join(f"# removes {path}\n" for path in there)
        out.write(_shown(plan.disable) + removed + _shown(plan.after))
        return ExitCode.OK
    if not there:
        out.write("No service is installed.\n")
        return ExitCode.OK
    for command in plan.disable:
        # It may never have been switched on.
        _run(command, must=False)
    for path in there:
        path.unlink(missing_ok=True)
        out.write(f"{path} is removed.\n")
    for command in plan.after:
        _run(command, must=False)
    return ExitCode.OK


def _status(plan: Plan) -> ExitCode:
    out = Output()
    missing = [file.path for file in plan.files if not file.path.exists()]
    if missing:
        out.write("No service is installed.\n")
        return ExitCode.OK
    for file in plan.files:
        same = file.path.read_bytes() == file.content
        out.write(f"{file.path}{'' if same else ' is not what `fireside service install` would write now'}\n")
    out.write(_run(plan.state, must=False) or f"{plan.kind} does not answer here.\n")
    return ExitCode.OK


def _run(command: Command, *, must: bool = True) -> str:
    """What it said. Raises Failure where it must succeed and does not."""
    if shutil.which(command[0]) is None:
        if must:
            raise Failure(f"There is no {command[0]} here.", ExitCode.FAILED, hint="The files are written.")
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = (done.stdout + done.stderr).strip()
    if must and done.returncode != 0:
        raise Failure(f"`{shlex.join(command)}` failed: {said}", ExitCode.FAILED, hint="The files are written.")
    return f"{said}\n" if said else ""


def _shown(commands: Sequence[Command]) -> str:
    return "".join(f"{shlex.join(command)}\n" for command in commands)
