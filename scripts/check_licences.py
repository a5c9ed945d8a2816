"""Refuse locked packages whose licence would bind the users of Casona (the GPL, its kin) or is not told.

Reads what the installed packages say of themselves, so it looks at the locks as installed here.
"""

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
BINDING = re.compile(
    r"\b(A?GPL|LGPL|GNU (Affero|General|Lesser)|SSPL|BUSL|Commons Clause|CC-BY-NC)", re.IGNORECASE
)


def locked() -> set[str]:
    """The names of all packages in the locks."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(REQUIREMENTS.glob("*.txt"))]
    return {name for text in texts for name in LOCKED.findall(text)}


def licence(of: PackageMetadata) -> str:
    """The licence as the package states it: expression first, then classifiers, then free text."""
    classifiers = [line for line in of.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.count(" :: ") > 1]
    free = (of.get("License") or "").strip().splitlines()
    return of.get("License-Expression") or " / ".join(named) or (free[0] if free else "")


def complaints(names: set[str]) -> list[str]:
    """One line for each installed package that may not be used."""
    found = []
    for name in sorted(names):
        try:
            stated = licence(metadata(name))
        except PackageNotFoundError:
            continue  # for another platform
        if not stated:
            found.append(f"{name} states no licence; choose another package")
        elif BINDING.search(stated):
            found.append(f"{name} is under {stated}; Casona takes permissive licences only")
    return found


def main() -> None:
    if found := complaints(locked()):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
