"""Memory of the machine: control groups, limits, graphics devices, and what is kept for others."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from fireside_engine.core.machine import GIB, MIB, keep_of_gpu, keep_of_host, unused_flags
from fireside_engine.hardware import bandwidth, graphics, machine, memory

HUGE = (1 << 63) - 4096


def group(folder: Path, **files: object) -> Path:
    """A control group with these files; "__" stands for "."."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")
    return folder


def proc(root: Path, line: str) -> Path:
    path = root / "proc"
    path.mkdir()
    (path / "cgroup").write_text(f"{line}\n")
    return path


def v2(folder: Path, limit: object, used: int, cache: int = 0, high: object = "max") -> Path:
    stat = f"anon {used - cache}\nfile {cache}\nactive_file {cache // 2}\ninactive_file {cache - cache // 2}"
    return group(folder, memory__max=limit, memory__high=high, memory__current=used, memory__stat=stat)


def test_a_limit_of_an_ancestor_binds_too(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    v2(groups / "user", 2 * GIB, GIB)
    v2(groups / "user" / "shell", "max", GIB // 2)
    found = memory.control_groups(proc(tmp_path, "0::/user/shell"), groups)
    assert found == [(2 * GIB, GIB)]
    assert memory.cut(64 * GIB, 60 * GIB, found, []) == memory.Memory(2 * GIB, GIB, "control group")


def test_page_cache_is_not_used_memory(tmp_path: Path) -> None:
    """A group that is full of files it has read can still have its memory."""
    groups = tmp_path / "cgroup"
    v2(groups / "box", 2 * GIB, 2 * GIB - 1, cache=int(1.5 * GIB))
    ((limit, used),) = memory.control_groups(proc(tmp_path, "0::/box"), groups)
    assert limit - used == pytest.approx(1.5 * GIB, abs=4096)


def test_the_softer_of_two_limits_binds_first(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    v2(groups / "box", 4 * GIB, 0, high=3 * GIB)
    found = memory.control_groups(proc(tmp_path, "0::/box"), groups)
    assert memory.cut(64 * GIB, 60 * GIB, found, []).total == 3 * GIB


def test_version_one_groups_and_their_number_for_no_limit(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    stat = "active_file 0\ninactive_file 1048576"
    group(
        groups / "memory" / "docker" / "abc",
        memory__limit_in_bytes=GIB,
        memory__usage_in_bytes=300 * MIB,
        memory__stat=stat,
    )
    group(groups / "memory", memory__limit_in_bytes=HUGE, memory__usage_in_bytes=5 * GIB, memory__stat=stat)
    found = memory.control_groups(proc(tmp_path, "4:cpu,memory:/docker/abc"), groups)
    assert found == [(GIB, 299 * MIB)]


def test_a_system_without_groups_has_none(tmp_path: Path) -> None:
    assert memory.control_groups(tmp_path / "nowhere", tmp_path) == []
    assert memory.cut(8 * GIB, 5 * GIB, [], []) == memory.Memory(8 * GIB, 5 * GIB, "system")


def test_a_limit_of_address_space_leaves_room_for_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = {resource.RLIMIT_AS: 2 * GIB, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    found = memory.host()
    assert found.source == "rlimit"
    assert found.contained
    assert found.available <= 2 * GIB - memory.virtual()
    limits[resource.RLIMIT_AS] = resource.RLIM_INFINITY
    assert memory.host().source != "rlimit"


def test_this_machine_has_memory() -> None:
    host = machine.look().host
    assert 0 < host.free <= host.total
    assert 0 < host.budget < host.free
    assert bandwidth.measure(1, seconds=0.02) > 1e8


def test_what_is_kept_grows_with_the_machine_and_leaves_something() -> None:
    for total in (512 * MIB, 2 * GIB, 16 * GIB, 256 * GIB):
        for contained in (False, True):
            kept = keep_of_host(total, contained=contained)
            assert 0 < kept < total
        assert keep_of_host(total, contained=False, mac=True) >= keep_of_host(2 * GIB, contained=False)
    assert keep_of_host(2 * GIB, contained=True) == 256 * MIB
    assert keep_of_gpu(24 * GIB) > keep_of_gpu(8 * GIB) >= 812 * MIB


def device(name: str, kind: str = "gpu", total: int = 12 * GIB, free: int = 11 * GIB, pci: str = "") -> dict[str, Any]:
    return {"name": name, "kind": kind, "total": total, "free": free, "id": pci, "description": f"the {name}"}


def look(monkeypatch: pytest.MonkeyPatch, *devices: dict[str, Any], cards: tuple[graphics.Card, ...] = ()) -> Any:
    monkeypatch.setattr(graphics, "cards", lambda: list(cards))
    return machine.look(devices, "llama.cpp")


def test_a_card_of_two_backends_is_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, device("CUDA0", pci="0000:01:00.0"), device("Vulkan0", pci="0000:01:00.0"))
    assert [pool.name for pool in found.gpus] == ["CUDA0"]


def test_the_driver_is_believed_when_it_sees_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some backends tell of their own process only; NVML sees what others hold."""
    card = graphics.Card("0000:01:00.0", 12 * GIB, 3 * GIB, "NVML")
    found = look(monkeypatch, device("CUDA0", pci="0000:01:00.0"), cards=(card,))
    assert found.gpus[0].free == 3 * GIB
    assert found.gpus[0].source == "llama.cpp and NVML"


def test_a_device_of_unknown_size_is_not_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, device("GPU0", total=0, free=0), device("RPC0"), device("CUDA1"))
    assert [pool.name for pool in found.gpus] == ["CUDA1"]


def test_an_integrated_unit_shares_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, device("Vulkan0", kind="igpu", total=48 * GIB, free=48 * GIB))
    assert found.gpus[0].kind == "unified"


class FakeNvml:
    """libnvidia-ml with one card, or one that does not support the question."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.ended = False

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlShutdown(self) -> int:
        self.ended = True
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, _index: int, _handle: Any) -> int:
        return 0

    def nvmlDeviceGetMemoryInfo(self, _handle: ctypes.c_void_p, memory: Any) -> int:
        memory._obj.total, memory._obj.free = 24 * GIB, 20 * GIB
        return self.status

    def nvmlDeviceGetPciInfo_v3(self, _handle: ctypes.c_void_p, pci: Any) -> int:
        pci._obj.domain, pci._obj.bus, pci._obj.device = 0, 0xC1, 0
        return 0


def test_nvml_tells_of_cards_and_is_let_go(tmp_path: Path) -> None:
    nvml = FakeNvml()
    assert graphics.cards(load=lambda _: nvml, sysfs=tmp_path) == [
        graphics.Card("0000:c1:00.0", 24 * GIB, 20 * GIB, "NVML")
    ]
    assert nvml.ended


def test_a_board_that_does_not_support_the_question_is_left_out(tmp_path: Path) -> None:
    nvml = FakeNvml(status=3)
    assert graphics.cards(load=lambda _: nvml, sysfs=tmp_path) == []
    assert nvml.ended


def test_sysfs_tells_of_amd_cards(tmp_path: Path) -> None:
    def missing(_name: str) -> Any:
        raise OSError

    pci = tmp_path / "0000:03:00.0"
    group(pci, mem_info_vram_total=16 * GIB, mem_info_vram_used=GIB)
    (tmp_path / "drm" / "card0").mkdir(parents=True)
    (tmp_path / "drm" / "card0" / "device").symlink_to(pci)
    (tmp_path / "drm" / "card1" / "device").mkdir(parents=True)
    found = graphics.cards(load=missing, sysfs=tmp_path / "drm")
    assert found == [graphics.Card("0000:03:00.0", 16 * GIB, 15 * GIB, "sysfs")]


def test_instruction_sets_that_the_build_lacks_are_named() -> None:
    build = "llama-cpp-python 0.3.36 (SSE3 AVX AVX2 FMA)"
    assert unused_flags(("avx", "avx2", "avx512f", "fma"), build) == ("avx512f",)
    assert unused_flags(("avx512f",), "") == ()


def test_flags_are_read_from_the_system(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor: 0\nflags\t\t: fpu avx2 avx other\n")
    assert machine.flags(path) == ("avx", "avx2")
    assert machine.flags(tmp_path / "none") == ()


def test_what_is_given_back_or_promised_counts_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, device("CUDA0", free=2 * GIB))
    changed = found.with_free({"CUDA0": 5 * GIB, "host": -found.host.free // 2})
    assert changed.gpus[0].free == 7 * GIB
    assert changed.host.free == pytest.approx(found.host.free / 2, abs=1)
    assert found.with_free({"CUDA0": 99 * GIB}).gpus[0].free == 12 * GIB
    assert found.with_free({"CUDA0": -99 * GIB}).gpus[0].free == 0
