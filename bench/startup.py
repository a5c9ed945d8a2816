"""How long the command line takes to say what it can."""

import subprocess
import time

from bench.peers.casona import PROGRAM

REPEATS = 10


def help_s() -> list[float]:
    """Wall time of `casona --help`, ten times after one that warms the disk's cache; none when it fails."""
    took_s: list[float] = []
    for _ in range(REPEATS + 1):
        started_s = time.monotonic()
        if subprocess.run([PROGRAM, "--help"], capture_output=True).returncode:
            return []
        took_s.append(time.monotonic() - started_s)
    return took_s[1:]
