"""What benchmarks say: spreads of figures, tables, and promises kept or not. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Spread:
    """What repeated measurements of one thing came to."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """The median and both ends; None when nothing was measured."""
    return Spread(median(values), min(values), max(values)) if values else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of `ordered` (ascending) does not exceed; NaN for none.

    By nearest rank, so it is always a value that was measured.
    """
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def show(value: float) -> str:
    """A figure as people read it: three digits that matter, thousands apart."""
    if not math.isfinite(value):
        return ABSENT
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def show_spread(values: Spread | None) -> str:
    """`median (low–high)`, the median alone when all measurements read the same."""
    if values is None:
        return ABSENT
    middle, low, high = show(values.median), show(values.low), show(values.high)
    return middle if low == high else f"{middle} ({low}–{high})"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; the first column holds names, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """A Markdown table whose columns line up as plain text too."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        body = [_line(self.columns, widths), _line(rule, widths), *(_line(row, widths) for row in self.rows)]
        return "\n".join([f"### {self.title}", "", *body])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    shown = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(shown)} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A figure of the design, and what was measured. `bound` is kept from above (`>=`) or below (`<=`)."""

    what: str
    sign: str
    bound: float
    measured: float | None
    unit: str = ""

    @property
    def kept(self) -> bool | None:
        """None when nothing was measured."""
        if self.measured is None or not math.isfinite(self.measured):
            return None
        return self.measured >= self.bound if self.sign == ">=" else self.measured <= self.bound

    def row(self) -> tuple[str, ...]:
        verdict = {True: "yes", False: "NO", None: "not measured"}[self.kept]
        measured = ABSENT if self.measured is None else f"{show(self.measured)} {self.unit}".rstrip()
        return self.what, f"{self.sign} {self.bound:g} {self.unit}".rstrip(), measured, verdict


@dataclass(slots=True, kw_only=True)
class Section:
    """What one part of the benchmark found. `figures` are all samples, for the results file."""

    name: str
    tables: list[Table] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def promises_table(promises: Sequence[Promise]) -> Table:
    return Table(
        "Promises", ("promise", "figure", "measured", "kept"), tuple(each.row() for each in promises)
    )
