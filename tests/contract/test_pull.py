"""`fireside pull` against a hub on loopback, with the real client of the hub: what comes out of every failure."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from cli_driver import LIMIT, Terminal, fireside, start, to_end, until
from fireside_engine import address
from fireside_engine.models.gguf import read_header
from gguf_writer import write_split
from pull_driver import LAMP, NAME, REPO, final, left_over, model, pull
from stand_in_hub import StandInHub
from tiny_models import write_llama


def test_a_model_is_fetched_and_can_be_asked_for(hub: StandInHub, models: Path) -> None:
    done = pull(f"hf:{REPO}")
    assert (done.code, done.out) == (0, f"{NAME}\n".encode())
    assert final(models).read_bytes() == LAMP
    assert b"Licence: apache-2.0" in done.err
    assert b"\x1b" not in done.err
    assert left_over(models) == []
    assert hub.sent == len(LAMP)
    outcome = json.loads(pull("--json", f"hf:{REPO}:q4_k_m").out)
    assert (outcome["how"], outcome["fetched"], outcome["path"]) == ("present", 0, str(final(models)))
    assert hub.sent == len(LAMP)


def test_dry_run_fetches_nothing(hub: StandInHub, models: Path) -> None:
    done = pull("--dry-run", f"hf:{REPO}")
    assert done.code == 0
    assert b">  Q4_K_M" in done.out
    assert b"To fetch: 1.0 MB" in done.out
    assert (hub.sent, models.exists()) == (0, False)


def test_peek_gets_a_header_that_reads_like_the_model(hub: StandInHub, models: Path) -> None:
    process = subprocess.run(
        address.pull_command(f"hf:{REPO}", peek=True), capture_output=True, timeout=LIMIT, check=True
    )
    event = json.loads(process.stdout.splitlines()[-1])
    assert (event["event"], event["size"], event["fetched"]) == ("peeked", len(LAMP), 1024 * 1024)
    header = read_header(Path(event["header"]))
    assert (header.architecture, header.file_size) == ("llama", len(LAMP))
    assert not models.exists()


def test_an_unconfirmed_source_is_said_so(hub: StandInHub, models: Path) -> None:
    hub.add("unsloth/Qwen3.8-27B-GGUF", {"Qwen3.8-27B-Q4_0.gguf": LAMP})
    assert b"Not all about it could be confirmed" in pull("--dry-run", "qwen3.8-27b").out
    done = pull("qwen3.8-27b")
    assert (done.code, b"Not all about it could be confirmed, so check its licence" in done.err) == (0, True)


def test_fit_fetches_what_runs_best_here(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    lamp = write_llama(tmp_path / "lamp.gguf").read_bytes()
    hub.add("nobody/Tiny-GGUF", {"Tiny-Q2_K.gguf": lamp, "Tiny-Q6_K.gguf": lamp + bytes(32), "mmproj-F16.gguf": lamp})
    try:
        done = pull("--fit", "hf:nobody/Tiny-GGUF")
        assert (done.code, done.out) == (0, b"Tiny-Q6_K\n"), done.err
    finally:
        fireside("stop")
    assert pull("--fit", "--quant", "Q2_K", "hf:nobody/Tiny-GGUF").code == 2


def test_a_plain_name_fetches_what_runs_best_here_and_says_why(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    lamp = write_llama(tmp_path / "lamp.gguf").read_bytes()
    hub.add("Qwen/Qwen3-4B-GGUF", {"Qwen3-4B-Q4_K_M.gguf": lamp, "Qwen3-4B-Q6_K.gguf": lamp + bytes(32)})
    try:
        done = pull("qwen3-4b")
        assert done.code == 0, done.err
        assert b"has the best quality there is" in done.err
    finally:
        fireside("stop")
    assert b"Nothing to fetch" in pull("qwen3-4b").err


def test_a_name_of_models_toml_finds_its_repository(hub: StandInHub, models: Path) -> None:
    hub.add("Qwen/Qwen3-4B-GGUF", {"Qwen3-4B-Q4_K_M.gguf": LAMP, "Qwen3-4B-Q8_0.gguf": model(400_000, 3)})
    assert pull("qwen3:4b:Q8_0").out == b"Qwen3-4B-Q8_0\n"
    assert pull("qwen3-4b", "-q", "--quant", "Q4_K_M") == (0, b"Qwen3-4B-Q4_K_M\n", b"")
    assert {path.name for path in models.rglob("*.gguf")} == {"Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B-Q8_0.gguf"}


def test_cut_connections_cost_next_to_nothing(hub: StandInHub, models: Path) -> None:
    dice = random.Random(1)
    hub.cuts.extend(dice.randrange(70_000, len(LAMP) // 4) for _ in range(4))
    hub.answers.extend([200, 503, 200])
    assert pull("-q", f"hf:{REPO}") == (0, f"{NAME}\n".encode(), b"")
    assert final(models).read_bytes() == LAMP
    assert hub.sent <= 1.1 * len(LAMP)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_points_and_resumed(hub: StandInHub, models: Path, seed: int) -> None:
    """The right bytes, or no file; never anything between."""
    dice = random.Random(seed)
    big = model(2 * 1024 * 1024, seed)
    hub.repos[REPO].files[f"{NAME}.gguf"] = big
    hub.rate = 6e6
    kills = 0
    while kills < 3:
        before = hub.sent
        goal = before + dice.randrange(200_000, len(big) // 5)
        process = start("pull", "-q", f"hf:{REPO}", start_new_session=True)
        until(lambda goal=goal, process=process: hub.sent >= goal or process.poll() is not None)
        assert process.poll() is None
        for pid in _descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        to_end(process)
        kills += 1
        assert list(models.rglob("*.gguf")) == []
    hub.rate = None
    assert pull("-q", f"hf:{REPO}") == (0, f"{NAME}\n".encode(), b"")
    assert final(models).read_bytes() == big
    assert hub.sent <= 1.1 * len(big)


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [found for child in children for found in (child, *_descendants(child))]


def test_ctrl_c_keeps_what_came(hub: StandInHub, models: Path) -> None:
    hub.stall.set()
    process = start("pull", f"hf:{REPO}", start_new_session=True)
    until(lambda: hub.sent > 0 and any(path.endswith(".incomplete") for path in left_over(models)))
    os.killpg(process.pid, signal.SIGINT)
    done = to_end(process)
    assert (done.code, done.out) == (130, b"")
    until(lambda: (models / ".pull").exists())
    assert f"{NAME}.gguf.incomplete" in left_over(models)
    hub.stall.clear()
    assert pull("-q", f"hf:{REPO}").code == 0
    assert hub.sent <= 1.1 * len(LAMP)


def test_the_fetching_process_leaves_when_its_client_is_killed(hub: StandInHub, models: Path) -> None:
    hub.rate = 100_000
    process = start("pull", "-q", f"hf:{REPO}")
    until(lambda: hub.sent > 0)
    (child,) = _descendants(process.pid)
    process.kill()
    to_end(process)
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])


def test_wrong_bytes_of_the_right_size_never_become_a_model(hub: StandInHub, models: Path) -> None:
    """huggingface_hub itself would have taken them."""
    wrong = bytearray(LAMP)
    wrong[-1000] ^= 1
    hub.repos[REPO].served[f"{NAME}.gguf"] = bytes(wrong)
    done = pull(f"hf:{REPO}")
    assert done.code == 4
    assert b"is not the file that its repository describes: its checksum is " in done.err
    assert hub.sent == 2 * len(LAMP)
    assert list(models.rglob("*.gguf")) == []
    assert not any(name.endswith(".incomplete") for name in left_over(models))
    hub.repos[REPO].served.clear()
    assert pull(f"hf:{REPO}").code == 0


def test_a_damaged_beginning_is_fetched_anew(hub: StandInHub, models: Path) -> None:
    """A crash of the machine can leave zeros where bytes were; the checksum tells, and once more is enough."""
    hub.cuts.append(500_000)
    hub.answers.extend([200, 403])
    assert pull(f"hf:{REPO}").code == 4
    (partial,) = models.rglob("*.incomplete")
    assert partial.stat().st_size == 500_000
    with partial.open("r+b") as file:
        file.seek(100_000)
        file.write(bytes(4096))
    assert pull(f"hf:{REPO}").code == 0
    assert final(models).read_bytes() == LAMP


def test_a_server_without_ranges(hub: StandInHub, models: Path) -> None:
    hub.without_ranges = True
    hub.cuts.append(300_000)
    assert pull("-q", f"hf:{REPO}").code == 0
    assert final(models).read_bytes() == LAMP


def test_a_stalled_connection_is_taken_up_again(hub: StandInHub, models: Path) -> None:
    hub.stall.set()
    process = start("pull", "-q", f"hf:{REPO}")
    until(lambda: len(hub.file_requests) >= 2)
    hub.stall.clear()
    assert to_end(process).code == 0
    assert final(models).read_bytes() == LAMP


def test_two_pulls_of_one_model_fetch_it_once(hub: StandInHub, models: Path) -> None:
    hub.rate = 1e6
    first = start("pull", "-q", f"hf:{REPO}")
    until(lambda: hub.sent > 0)
    hub.add("other/Copy-GGUF", {f"{NAME}.gguf": LAMP})
    others = [start("pull", f"hf:{REPO}"), start("pull", "hf:other/Copy-GGUF")]
    ends = [to_end(process) for process in (first, *others)]
    assert [end[:2] for end in ends] == [(0, f"{NAME}\n".encode())] * 3
    assert b"waiting for another pull" in ends[1].err
    assert hub.sent == len(LAMP)
    assert len(list(models.rglob("*.gguf"))) == 1
    assert left_over(models) == []


def test_a_waiting_pull_goes_on_where_a_killed_one_ended(hub: StandInHub, models: Path) -> None:
    hub.rate = 0.8e6
    first = start("pull", "-q", f"hf:{REPO}", start_new_session=True)
    until(lambda: hub.sent > 200_000)
    second = start("pull", "-q", f"hf:{REPO}")
    until(lambda: len(hub.asked) >= 4)
    for pid in _descendants(first.pid):
        os.kill(pid, signal.SIGKILL)
    assert to_end(first).code == 1
    assert to_end(second) == (0, f"{NAME}\n".encode(), b"")
    assert final(models).read_bytes() == LAMP
    assert hub.sent <= 1.15 * len(LAMP)


def test_a_pulled_model_is_listed_and_removed(hub: StandInHub, models: Path) -> None:
    """By an engine that ran before the model came."""
    try:
        assert NAME.encode() not in fireside("models").out
        assert b"qwen3-coder-30b-a3b" in fireside("models", "search", "code", "tools").out
        assert pull("-q", f"hf:{REPO}").code == 0
        assert NAME.encode() in fireside("models").out
        hub.answers.append(403)
        assert pull(f"hf:{REPO}:Q8_0").code == 4
        done = fireside("models", "rm", NAME)
        assert (done.code, done.out) == (0, f"{NAME} is removed: 1.0 MB.\n".encode())
        assert fireside("models", "rm", NAME).code == 4
        assert b"Lamp-7B-Q8_0 is removed: 0 B." in fireside("models", "rm", "--unfinished").out
        assert fireside("models", "rm", "--unfinished").out == b"There was nothing.\n"
        assert fireside("models", "rm").code == 2
        assert NAME.encode() not in fireside("models").out
    finally:
        fireside("stop")
    assert [path for path in models.rglob("*") if path.is_file()] == []


# --- split models


@pytest.fixture
def parts(hub: StandInHub, tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "parts"
    folder.mkdir()
    files = {f"Q4_K_M/{path.name}": path.read_bytes() for path in write_split(folder, "Big-Q4_K_M", 3)}
    hub.add("nobody/Big-GGUF", files)
    return files


def test_a_split_model_is_all_or_nothing(hub: StandInHub, models: Path, parts: dict[str, bytes]) -> None:
    last = "Q4_K_M/Big-Q4_K_M-00003-of-00003.gguf"
    hub.repos["nobody/Big-GGUF"].served[last] = bytes(len(parts[last]))
    assert pull("hf:nobody/Big-GGUF").code == 4
    assert [path for path in models.rglob("*.gguf") if ".pull" not in path.parts] == []
    hub.repos["nobody/Big-GGUF"].served.clear()
    assert pull("-q", "hf:nobody/Big-GGUF") == (0, b"Big-Q4_K_M\n", b"")
    folder = models / "nobody" / "Big-GGUF" / "Big-Q4_K_M"
    assert sorted(path.name for path in folder.glob("*.gguf")) == sorted(name.rpartition("/")[2] for name in parts)
    assert all((folder / name.rpartition("/")[2]).read_bytes() == data for name, data in parts.items())
    before = hub.sent
    assert pull("-q", "hf:nobody/Big-GGUF").code == 0
    assert hub.sent == before


def test_finished_parts_are_not_fetched_again(hub: StandInHub, models: Path, parts: dict[str, bytes]) -> None:
    hub.answers.extend([200, 200, 403])
    assert pull("hf:nobody/Big-GGUF").code == 4
    before = hub.sent
    assert pull("hf:nobody/Big-GGUF").code == 0
    assert hub.sent - before == len(parts["Q4_K_M/Big-Q4_K_M-00003-of-00003.gguf"])


def test_a_terminal_shows_one_line_with_rate_and_time(hub: StandInHub, models: Path) -> None:
    hub.rate = 3e5
    terminal = Terminal()
    try:
        process = start("pull", f"hf:{REPO}", stderr=terminal.slave, env={**os.environ, "TERM": "xterm"})
        terminal.wait_for(b" left")
        hub.rate = None
        out, _ = process.communicate(timeout=LIMIT)
        screen = terminal.drain()
    finally:
        terminal.close()
    assert (process.returncode, out) == (0, f"{NAME}\n".encode())
    assert b"B/s" in screen
    assert screen.count(b"\n") == 2, "nothing but the outcome stays"
