"""Pages a second of Casona's PDF loader and of pypdf: the same files, one core, in turns."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.options import CHECKOUT, Options
from bench.peers import Unavailable
from bench.peers.base import install_python
from bench.place import choose_cores, pin
from bench.report import Promise, Section, Table, show_spread, spread

READER = Path(__file__).resolve().parent / "parse_pages.py"
PROMISED = 4.0

Told = dict[str, tuple[int, float]]
"""file -> pages, seconds"""


def run(options: Options) -> Section:
    section = Section(name="parse")
    files = sorted(_documents().rglob("*.pdf"))
    if not files:
        section.notes.append(f"no PDFs found below {_documents()}; CASONA_SHARED names another folder")
        return section
    readers = {"Casona": (sys.executable, "casona")}
    try:
        readers["pypdf"] = (str(install_python("pypdf") / "python"), "pypdf")
    except Unavailable as fault:
        section.notes.append(f"pypdf left out: {fault}")
    rounds = [
        {name: _read(*reader, files) for name, reader in readers.items()} for _ in range(options.rounds)
    ]
    _tell(section, rounds, files)
    return section


def _documents() -> Path:
    return Path(os.environ.get("CASONA_SHARED") or CHECKOUT.parent / "shared") / "data/documents"


def _read(python: str, reader: str, files: Sequence[Path]) -> Told:
    core = choose_cores().proxy
    done = subprocess.run(
        [python, READER, reader, *files],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: pin(core),
    )
    return {file: (pages, seconds) for file, (pages, seconds) in json.loads(done.stdout).items()}


def _tell(section: Section, rounds: list[dict[str, Told]], files: Sequence[Path]) -> None:
    common = set.intersection(*(set(told) for each in rounds for told in each.values()))
    speeds = {name: [_pages_per_s(each[name], common) for each in rounds] for name in rounds[0]}
    pages = sum(pages for file, (pages, _) in rounds[0]["Casona"].items() if file in common)
    rows = tuple((name, show_spread(spread(values))) for name, values in speeds.items())
    title = f"PDF text, one core: {pages} pages of {len(common)} files"
    section.tables.append(Table(title, ("reader", "pages/s"), rows))
    measured = median(speeds["Casona"]) / median(speeds["pypdf"]) if "pypdf" in speeds else None
    what = "parse, against pypdf, per core"
    section.promises.append(Promise(what=what, sign=">=", bound=PROMISED, measured=measured, unit="x"))
    section.notes.append(
        f"{len(files)} PDFs; what one of the readers refuses (a password, no text) is left out for both"
    )
    section.figures["pages_per_s"] = speeds


def _pages_per_s(told: Told, common: set[str]) -> float:
    return sum(told[file][0] for file in common) / sum(told[file][1] for file in common)
