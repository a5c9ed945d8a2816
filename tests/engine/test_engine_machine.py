"""What a machine has, read from machines that are made of files."""

from pathlib import Path

import psutil
import pytest

from casona.engine.machine import Gpu, cores, gpus, usable_bytes

GIB = 2**30


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 GiB, 16 cores, no vendor's tool on PATH: what is seen is seen in the files."""
    memory = psutil.virtual_memory()._replace(total=64 * GIB)
    monkeypatch.setattr("casona.engine.machine.psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("casona.engine.machine.psutil.cpu_count", lambda logical: 16)
    monkeypatch.setattr("casona.engine.machine.os.sched_getaffinity", lambda _: set(range(32)), raising=False)
    monkeypatch.setattr("casona.engine.machine.shutil.which", lambda _: None)
    monkeypatch.setattr("casona.engine.machine.sys.platform", "linux")


def test_without_limits_the_machine_has_its_memory_and_physical_cores(tmp_path: Path) -> None:
    assert (usable_bytes(tmp_path), cores(tmp_path)) == (64 * GIB, 16)


def test_a_limit_of_cgroup_2_holds_also_from_above(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "0::/house/casona\n",
            "sys/fs/cgroup/house/casona/memory.max": "max\n",
            "sys/fs/cgroup/house/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/house/casona/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/house/cpu.max": "max 100000\n",
        },
    )
    assert (usable_bytes(root), cores(root)) == (8 * GIB, 3)


def test_in_a_container_the_top_of_the_tree_is_our_own(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{4 * GIB}"}
    assert usable_bytes(written(tmp_path, files)) == 4 * GIB


def test_a_limit_of_cgroup_1_holds(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{6 * GIB}\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert (usable_bytes(root), cores(root)) == (6 * GIB, 2)


def test_cards_of_nvidia_are_seen_without_its_tool(tmp_path: Path) -> None:
    card = "proc/driver/nvidia/gpus/0000:01:00.0/information"
    root = written(tmp_path, {card: "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   95\n"})
    assert list(gpus(root)) == [Gpu(kind="cuda", name="NVIDIA GeForce RTX 4090")]


def test_cards_of_amd_are_seen_where_compute_is_there_too(tmp_path: Path) -> None:
    card = {
        "sys/class/drm/card0/device/vendor": "0x1002\n",
        "sys/class/drm/card0/device/mem_info_vram_total": f"{16 * GIB}\n",
        "sys/class/drm/card1/device/vendor": "0x8086\n",
        "sys/class/drm/card0-DP-1/device/vendor": "0x1002\n",
    }
    assert list(gpus(written(tmp_path, card))) == []
    (tmp_path / "sys/class/kfd/kfd/topology/nodes").mkdir(parents=True)
    assert list(gpus(tmp_path)) == [Gpu(kind="rocm", name="AMD GPU", memory_bytes=16 * GIB)]


def test_odd_files_are_no_limits(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "nonsense\n\n0::/x\n",
        "sys/fs/cgroup/x/memory.max": "0\n",
        "sys/fs/cgroup/memory.max": "a lot\n",
        "sys/fs/cgroup/x/cpu.max": "100000 0\n",
    }
    root = written(tmp_path, files)
    assert (usable_bytes(root), cores(root)) == (64 * GIB, 16)
