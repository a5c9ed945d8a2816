"""Where things run: the proxy under test has a core to itself, the mock node and the load share another."""

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers of cores, None where programs cannot be pinned; `note` says what to know about them."""

    proxy: int | None
    load: int | None
    note: str


def choose_cores() -> Cores:
    """Two cores that share no hardware, if the machine has them."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(
            None, None, f"{platform.system()} pins no program to a core: all of them share the cores"
        )
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(cores[0], cores[0], "one core only: the load takes its time from the proxies")
    proxy = cores[0]
    apart = [core for core in cores[1:] if core not in _siblings(proxy)]
    load = apart[0] if apart else cores[1]
    shared = "" if apart else ", two threads of one core: figures are too low"
    return Cores(proxy, load, f"proxy on core {proxy}, mock node and load on core {load}{shared}")


def _siblings(core: int) -> set[int]:
    """The hardware threads that share `core`, which may be written `0-1` or `0,8`."""
    try:
        listed = (TOPOLOGY / f"cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return set()
    found: set[int] = set()
    for span in listed.split(","):
        first, _, last = span.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def pin(core: int | None) -> None:
    """Keep this process on one core; None leaves it free."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
