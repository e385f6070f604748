"""`fireside pull`: who may fetch what, what is no model, and what is on this machine already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli_driver import LIMIT
from fireside_engine import address
from gguf_writer import gguf
from pull_driver import LAMP, NAME, REPO, final, model, pull
from stand_in_hub import TOKEN, StandInHub

# --- who may fetch what


def test_a_gated_repository_says_what_to_do(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    hub.add("nobody/Gated-GGUF", {f"{NAME}.gguf": model(1000, 5)}, gated=True)
    done = pull("hf:nobody/Gated-GGUF")
    assert done.code == 4
    assert b"only for those who accepted its terms" in done.err
    assert f"{hub.url}/nobody/Gated-GGUF".encode() in done.err
    assert b"HF_TOKEN" in done.err
    assert pull("-q", "hf:nobody/Gated-GGUF", HF_TOKEN=TOKEN).code == 0
    assert any(asked.headers.get("authorization") for asked in hub.asked)
    assert not any(asked.headers.get("authorization") for asked in hub.file_requests), "a token for a foreign host"


def test_the_token_of_hf_home_is_used(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    hub.add("nobody/Secret-GGUF", {f"{NAME}.gguf": model(1000, 6)}, private=True)
    done = pull("hf:nobody/Secret-GGUF")
    assert (done.code, b"does not show it to you" in done.err) == (4, True)
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text(TOKEN)
    assert pull("-q", "hf:nobody/Secret-GGUF").code == 0
    done = pull("hf:nobody/Secret-GGUF", HF_TOKEN="hf_wrong")
    assert (done.code, b"Invalid credentials" in done.err) == (4, True)


def test_offline_means_offline(hub: StandInHub, models: Path) -> None:
    done = pull(f"hf:{REPO}", HF_HUB_OFFLINE="1")
    assert (done.code, b"HF_HUB_OFFLINE is set" in done.err) == (4, True)
    assert hub.asked == []


def test_errors_say_what_to_do(hub: StandInHub, models: Path) -> None:
    for words, expected in (
        (["hf:nobody/Nothing"], b"The hub has no model repository nobody/Nothing"),
        ([f"hf:{REPO}@v9"], b"has no such version"),
        ([f"hf:{REPO}:Q2_K"], b"It has Q4_K_M, Q8_0."),
        (["qwen4-900b"], b"There is no model named qwen4-900b"),
        (["/nowhere/x.gguf"], b"There is no file x.gguf"),
    ):
        done = pull(*words)
        assert (done.code, expected in done.err) == (4, True), done.err
        assert done.out == b""
    hub.login_page = True
    assert b"Something else than a model hub answers" in pull(f"hf:{REPO}").err
    assert b"cannot be reached" in pull(f"hf:{REPO}", HF_ENDPOINT="http://127.0.0.1:9").err
    assert pull(f"hf:{REPO}", HF_ENDPOINT="nonsense").code == 2


def test_errors_as_json(hub: StandInHub, models: Path) -> None:
    done = pull("--json", f"hf:{REPO}:Q2_K")
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert (error["code"], error["exit_code"], error["quants"]) == ("model_not_found", 4, ["Q4_K_M", "Q8_0"])


# --- what is no model


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!doctype html>" + bytes(5000), b"it looks like a web page"),
        (LAMP[:-5000] + b"", b"is truncated"),
        (gguf({}), b"does not say which architecture"),
        (bytes(100_000), b"it begins with zeros"),
    ],
)
def test_what_is_no_model_is_thrown_away(hub: StandInHub, models: Path, data: bytes, words: bytes) -> None:
    hub.add("nobody/Odd-GGUF", {"odd.gguf": data})
    done = pull("hf:nobody/Odd-GGUF")
    assert (done.code, words in done.err) == (4, True), done.err
    assert [path for path in models.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_file_without_a_checksum_is_refused_and_one_of_git_is_not(hub: StandInHub, models: Path) -> None:
    hub.add("nobody/Git-GGUF", {"small.gguf": model(100, 8)}, in_git={"small.gguf"})
    assert pull("hf:nobody/Git-GGUF").out == b"small\n"


# --- the disk


def small_disk(tmp_path: Path, free: str) -> dict[str, str]:
    """An environment in which a disk has `free` bytes free, a Python expression."""
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import shutil, collections\n"
        "usage = collections.namedtuple('usage', 'total used free')\n"
        f"shutil.disk_usage = lambda path: usage(10**12, 0, {free})\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}


def test_no_room_is_said_before_anything_is_fetched(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    done = pull(f"hf:{REPO}", **small_disk(tmp_path, "10**9"))
    assert done.code == 4
    assert b"needs 1.0 MiB more on the disk" in done.err
    assert b"smaller quantization" in done.err
    assert hub.sent == 0


def test_a_disk_that_fills_up(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a disk that takes no more bytes."""
    limit = 400 * 1024
    hub.rate = 2e6
    program = (
        f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        f"os.execv(sys.executable, [sys.executable, '-m', 'fireside', 'pull', 'hf:{REPO}'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 4
    assert b"takes no more bytes" in done.stderr
    assert b"what was fetched is kept" in done.stderr
    assert pull("-q", f"hf:{REPO}").code == 0
    assert hub.sent <= 1.1 * len(LAMP)


# --- what is here already


def test_a_file_of_the_user_is_used_where_it_lies(hub: StandInHub, models: Path, tmp_path: Path) -> None:
    far = tmp_path / "far" / "My Lamp.gguf"
    far.parent.mkdir()
    far.write_bytes(LAMP)
    done = pull(str(far))
    assert (done.code, done.out) == (0, b"my-lamp\n")
    config = address.config_dir() / "models.toml"
    config.write_text("# mine\n" + config.read_text())
    assert pull(str(far), "-q") == (0, b"my-lamp\n", b"")
    done = pull(f"hf:{REPO}")
    assert (done.out, b"The same file is there already, in" in done.err) == (b"my-lamp\n", True)
    assert hub.sent == 0
    assert config.read_text().startswith("# mine\n")
    assert not models.exists() or list(models.rglob("*.gguf")) == []


def test_a_foreign_file_of_the_same_name_is_not_replaced(hub: StandInHub, models: Path) -> None:
    final(models).parent.mkdir(parents=True)
    final(models).write_bytes(LAMP[:-1] + b"\1")
    done = pull(f"hf:{REPO}")
    assert (done.code, b"is another file of that name" in done.err) == (2, True)
    assert final(models).read_bytes() == LAMP[:-1] + b"\1"


def test_a_newer_version_replaces_what_was_pulled(hub: StandInHub, models: Path) -> None:
    assert pull("-q", f"hf:{REPO}").code == 0
    newer = model(256 * 1024, 9)
    hub.repos[REPO].files[f"{NAME}.gguf"] = newer
    hub.repos[REPO].commit = "f" * 40
    assert pull("-q", f"hf:{REPO}").code == 0
    assert final(models).read_bytes() == newer


def test_a_file_that_was_copied_by_hand_is_known_from_then_on(hub: StandInHub, models: Path) -> None:
    final(models).parent.mkdir(parents=True)
    final(models).write_bytes(LAMP)
    assert b"comparing the checksum" in pull(f"hf:{REPO}").err
    assert b"comparing the checksum" not in pull(f"hf:{REPO}").err
    assert hub.sent == 0


def test_check_finds_and_mends_damage(hub: StandInHub, models: Path) -> None:
    assert pull("-q", f"hf:{REPO}").code == 0
    final(models).write_bytes(LAMP[:-1] + b"\1")
    assert pull("-q", f"hf:{REPO}").code == 0
    assert final(models).read_bytes() != LAMP
    assert pull("-q", "--check", f"hf:{REPO}").code == 0
    assert final(models).read_bytes() == LAMP


def test_progress_has_rate_and_time_left(hub: StandInHub, models: Path) -> None:
    hub.rate = 4e5
    process = subprocess.Popen(
        address.pull_command(f"hf:{REPO}"), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    out, _ = process.communicate(timeout=LIMIT)
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["event"] == "done"
    moving = [event for event in events if event["event"] == "progress" and event["rate"]]
    assert moving
    assert all(event["total"] == len(LAMP) for event in moving)
    assert all(event["seconds_left"] >= 0 for event in moving)
    done = [event["done"] for event in moving]
    assert done == sorted(done)
