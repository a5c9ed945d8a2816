"""What the person at the keyboard chose."""

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALLED = CHECKOUT / ".bench"
RESULTS = CHECKOUT / "bench" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`seconds` is how long each single measurement lasts, `rounds` how often each is taken."""

    only: tuple[str, ...] = ()
    rounds: int = 5
    seconds: float = 4.0
    without: tuple[str, ...] = ()

    def wants(self, section: str) -> bool:
        return not self.only or section in self.only
