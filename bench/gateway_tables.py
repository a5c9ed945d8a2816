"""From samples of the gateway to tables and promises. Pure."""

from collections.abc import Callable, Sequence

from bench.options import Options
from bench.report import Promise, Section, Spread, Table, show_spread, spread

DIRECT = "no proxy"
HELP = "casona --help"
BUSY = 0.9  # share of its core that a proxy uses when nothing else is the limit

Samples = dict[str, list[dict[str, float]]]
"""Figures by proxy, one mapping per round; a round that failed is empty, so that rounds stay side by side."""


def of(samples: Samples, name: str, figure: str) -> Spread | None:
    return spread([each[figure] for each in samples.get(name, []) if figure in each])


def against(
    samples: Samples, name: str, other: str, figure: str, compare: Callable[[float, float], float]
) -> Spread | None:
    """Two proxies compared round by round, so that both have met the same moment of the machine."""
    pairs = zip(samples.get(name, []), samples.get(other, []), strict=False)
    return spread(
        [compare(mine[figure], its[figure]) for mine, its in pairs if figure in mine and figure in its]
    )


def ratio(mine: float, its: float) -> float:
    return mine / its if its else float("nan")


def added(mine: float, its: float) -> float:
    return mine - its


def sections(samples: Samples, options: Options, notes: Sequence[str]) -> list[Section]:
    """One section per kind of figure that was measured; the first carries the notes."""
    builders = {"gateway": _gateway, "streams": _streams, "idle": _idle}
    found = [build(samples) for name, build in builders.items() if options.wants(name)]
    if found:
        found[0].notes = [*notes, *found[0].notes]
        found[0].figures = dict(samples)
    return found


def _table(
    title: str, columns: Sequence[str], samples: Samples, cells: Callable[[str], Sequence[str]]
) -> Table:
    rows = [(name, *cells(name)) for name in samples if any(samples[name])]
    return Table(f"{title}: median (lowest–highest)", tuple(columns), tuple(rows))


def _gateway(samples: Samples) -> Section:
    def cells(name: str) -> Sequence[str]:
        added_us = against(samples, name, DIRECT, "p50_us", added) if name != DIRECT else None
        return (
            show_spread(of(samples, name, "requests_per_s")),
            show_spread(against(samples, name, "nginx", "requests_per_s", ratio)),
            show_spread(of(samples, name, "core_used")),
            show_spread(of(samples, name, "p50_us")),
            show_spread(of(samples, name, "p99_us")),
            show_spread(added_us),
            show_spread(of(samples, name, "loaded_mb")),
        )

    timed = {name: rounds for name, rounds in samples.items() if name != HELP}
    figures = "requests/s at 32, of nginx, of its core, p50 us at 1, p99 us at 1, added p50 us, MB after"
    columns = ("proxy", *figures.split(", "))
    table = _table("Whole answers, 32 connections and 1", columns, timed, cells)
    return Section(
        name="gateway",
        tables=[table],
        promises=_relay_promises(samples),
        notes=_errors(samples) + _held_back(samples),
    )


def _relay_promises(samples: Samples) -> list[Promise]:
    def times(other: str) -> float | None:
        return _middle(against(samples, "Casona", other, "requests_per_s", ratio))

    def beyond(figure: str) -> float | None:
        return _middle(against(samples, "Casona", DIRECT, figure, added))

    return [
        Promise(what="requests/s, share of nginx", sign=">=", bound=0.18, measured=times("nginx")),
        Promise(what="requests/s, times LiteLLM", sign=">=", bound=100, measured=times("LiteLLM")),
        Promise(what="requests/s, times Portkey", sign=">=", bound=10, measured=times("Portkey")),
        Promise(what="added latency p50", sign="<=", bound=200, measured=beyond("p50_us"), unit="us"),
        Promise(what="added latency p99", sign="<=", bound=1000, measured=beyond("p99_us"), unit="us"),
    ]


def _errors(samples: Samples) -> list[str]:
    """A figure that was reached by failing is no figure: say so."""
    counts = {name: sum(_errors_in(each) for each in rounds) for name, rounds in samples.items()}
    return [f"{name}: {count:.0f} requests failed" for name, count in counts.items() if count]


def _held_back(samples: Samples) -> list[str]:
    """A proxy that could not use its core has a figure that is too low: say so."""
    shares = {name: _middle(of(samples, name, "core_used")) for name in samples}
    return [
        f"{name} used {share:.0%} of its core: the load, or other work on this machine, held it back"
        for name, share in shares.items()
        if share is not None and share < BUSY
    ]


def _errors_in(figures: dict[str, float]) -> float:
    return figures.get("errors_1", 0) + figures.get("errors_32", 0)


def _streams(samples: Samples) -> Section:
    def cells(name: str) -> Sequence[str]:
        figures = ("open", "chunks_per_s", "p50_ms", "p99_ms", "worst_ms", "kb")
        return [show_spread(of(samples, name, f"stream_{figure}")) for figure in figures]

    timed = {name: rounds for name, rounds in samples.items() if name != HELP}
    columns = ("proxy", "streams open", "chunks/s", "p50 ms", "p99 ms", "worst ms", "KB per stream")
    table = _table("400 streams, each 50 chunks/s", columns, timed, cells)
    latency_ms = _middle(of(samples, "Casona", "stream_p99_ms"))
    grown_kb = _middle(of(samples, "Casona", "stream_kb"))
    promises = [
        Promise(what="chunk latency p99", sign="<=", bound=10, measured=latency_ms, unit="ms"),
        Promise(what="resident memory per stream", sign="<=", bound=60, measured=grown_kb, unit="KB"),
    ]
    return Section(name="streams", tables=[table], promises=promises)


def _idle(samples: Samples) -> Section:
    def cells(name: str) -> Sequence[str]:
        figures = ("first_start_s", "start_s", "idle_mb")
        return [show_spread(of(samples, name, figure)) for figure in figures]

    started = {name: rounds for name, rounds in samples.items() if name != DIRECT}
    columns = ("program", "first start s", "start s", "idle MB")
    table = _table("Start-up and idle memory", columns, started, cells)
    promises = [
        Promise(what=what, sign="<=", bound=bound, measured=_middle(of(samples, name, figure)), unit=unit)
        for what, name, figure, bound, unit in (
            ("ready after start", "Casona", "start_s", 1.5, "s"),
            ("idle memory", "Casona", "idle_mb", 90, "MB"),
            ("casona --help", HELP, "start_s", 0.3, "s"),
        )
    ]
    return Section(name="idle", tables=[table], promises=promises)


def _middle(values: Spread | None) -> float | None:
    return None if values is None else values.median
