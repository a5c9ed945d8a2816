"""What this machine has for models: memory, cores, GPUs. Only looks; starts nothing but `nvidia-smi`.

Sources: cgroup v2 and v1 documentation of the Linux kernel; /proc/driver/nvidia; amdkfd's topology.
`root` is where / is, so that tests can look at a machine made of files.
"""

import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

GpuKind = Literal["cuda", "rocm", "metal"]
ROOT = Path("/")
_NO_LIMIT = 2**60  # cgroup v1 writes a number near 2**63 for "none"
_AMD = "0x1002"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """`memory_bytes` is 0 when it is not known; Metal's is the machine's own memory."""

    kind: GpuKind
    name: str
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`usable_bytes` is what a process here may have at most; `cores` are physical ones it may use."""

    usable_bytes: int
    cores: int
    gpus: tuple[Gpu, ...] = ()


def look(root: Path = ROOT) -> Machine:
    """May take a second where `nvidia-smi` is asked, so call it in a thread."""
    return Machine(usable_bytes=usable_bytes(root), cores=cores(root), gpus=tuple(gpus(root)))


def usable_bytes(root: Path = ROOT) -> int:
    """The smaller of RAM and the memory limit of this process's cgroup or any above it."""
    return min([int(psutil.virtual_memory().total), *_cgroup_limits(root)])


def cores(root: Path = ROOT) -> int:
    """Physical cores this process may run on: hyper-threads and slow cores do not speed models up."""
    counts = [_physical_cores()]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    counts += [max(1, math.ceil(quota)) for quota in _cpu_quotas(root)]
    return max(1, min(counts))


def _physical_cores() -> int:
    if sys.platform == "darwin":
        fast = _output("sysctl", "-n", "hw.perflevel0.physicalcpu").strip()
        if fast.isdigit():
            return int(fast)
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _cgroup_limits(root: Path) -> Iterator[int]:
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdigit() and 0 < int(text) < _NO_LIMIT:
                yield int(text)


def _cpu_quotas(root: Path) -> Iterator[float]:
    for folder in _cgroup_folders(root, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield int(quota) / int(period)


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup and all above it, in version 2 and in the controller's version 1 tree."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        tree = base if not controllers else base / controller
        if not controllers or controller in controllers.split(","):
            folder = tree / path.lstrip("/")
            # Inside a container the path is the host's and absent here; the tree's top is then our own.
            yield from (f for f in (folder, *folder.parents) if f == tree or tree in f.parents)


def gpus(root: Path = ROOT) -> Iterator[Gpu]:
    """GPUs that are there, whether or not anything can use them."""
    yield from _nvidia(root)
    yield from _amd(root)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield Gpu(kind="metal", name="Apple GPU", memory_bytes=int(psutil.virtual_memory().total))


def _nvidia(root: Path) -> Iterator[Gpu]:
    asked = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    told = [line.rpartition(",") for line in asked.splitlines() if "," in line]
    if told and root == ROOT:
        for name, _, mebibytes in told:
            size = mebibytes.strip()
            yield Gpu(kind="cuda", name=name.strip(), memory_bytes=int(size) * 2**20 if size.isdigit() else 0)
        return
    for card in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        fields = dict(line.split(":", 1) for line in _text(card).splitlines() if ":" in line)
        yield Gpu(kind="cuda", name=fields.get("Model", "NVIDIA GPU").strip())


def _amd(root: Path) -> Iterator[Gpu]:
    """Cards of the kernel's display driver, if its compute half (kfd) is there too."""
    if not (root / "sys/class/kfd/kfd/topology/nodes").is_dir():
        return
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*/device")):
        size = _text(card / "mem_info_vram_total")
        if _text(card / "vendor") == _AMD and size.isdigit():
            name = _text(card / "product_name") or "AMD GPU"
            yield Gpu(kind="rocm", name=name, memory_bytes=int(size))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _output(program: str, *arguments: str) -> str:
    """What a program prints, "" when it is not there or fails."""
    found = shutil.which(program)
    if found is None:
        return ""
    try:
        run = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout if run.returncode == 0 else ""
