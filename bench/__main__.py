"""`make bench`: measure Casona against its peers, and say which promises of the design it keeps.

    make bench ARGS="[--only gateway,streams,idle,parse,retrieval] [--without litellm,portkey] [--rounds 5]"

A module of the benchmark has `run(options) -> Section | list[Section]`. Samples go to bench/results/*.json.
"""

import argparse
import importlib.util
import json
import math
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench.options import RESULTS, Options
from bench.peers import PEERS
from bench.place import machine
from bench.report import Section, promises_table

# What each module measures. The first three are taken in the same turns of the same programs.
MODULES = {
    "bench.gateway": ("gateway", "streams", "idle"),
    "bench.parse": ("parse",),
    "bench.retrieval": ("retrieval",),
}
SECTIONS = tuple(section for sections in MODULES.values() for section in sections)


def main() -> None:
    options = _options(sys.argv[1:])
    signal.signal(signal.SIGTERM, _end)
    before = machine()
    print(", ".join(f"{name} {value}" for name, value in before.items()), flush=True)
    started_s = time.monotonic()
    found = [section for name in _wanted(options) for section in _run(name, options)]
    _print(found)
    path = _keep(found, before, options)
    print(f"\n{time.monotonic() - started_s:.0f} s; every sample is in {path}")


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…", description="Measure Casona against its peers."
    )
    parser.add_argument("--only", default="", help=f"sections, by commas: {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement lasts (4)")
    parser.add_argument("--without", default="", help="peers to leave out, by commas")
    asked = parser.parse_args(arguments)
    options = Options(
        only=_names(asked.only), rounds=asked.rounds, seconds=asked.seconds, without=_names(asked.without)
    )
    for chosen, known in ((options.only, SECTIONS), (options.without, [p.name.lower() for p in PEERS])):
        if strange := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(strange))}: there are {', '.join(known)}")
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    return options


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in listed.split(",") if name.strip())


def _end(_: int, frame: FrameType | None) -> None:
    """Leave through the context managers, which stop what was started."""
    sys.exit(143)


def _wanted(options: Options) -> list[str]:
    wanted = [name for name, sections in MODULES.items() if any(map(options.wants, sections))]
    return [name for name in wanted if importlib.util.find_spec(name)]


def _run(name: str, options: Options) -> list[Section]:
    found = importlib.import_module(name).run(options)
    return found if isinstance(found, list) else [found]


def _print(found: list[Section]) -> None:
    for section in found:
        for note in section.notes:
            print(f"- {note}")
        for table in section.tables:
            print(f"\n{table.markdown()}")
    if promises := [promise for section in found for promise in section.promises]:
        print(f"\n{promises_table(promises).markdown()}")


def _keep(found: list[Section], before: dict[str, str], options: Options) -> Path:
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    kept = {
        "measured": now.isoformat(timespec="seconds"),
        "machine": before,
        "options": asdict(options),
        "sections": [asdict(section) for section in found],
    }
    path = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(_finite(kept), indent=2, ensure_ascii=False) + "\n")
    return path


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
