"""The gateway against its peers: nginx, Casona and the others take turns, round after round."""

import subprocess
from collections.abc import Sequence

from bench.gateway_tables import Samples, sections
from bench.load import generator
from bench.options import Options
from bench.peers import PEERS, Peer, Unavailable
from bench.place import choose_cores
from bench.program import NotReady
from bench.report import Section
from bench.startup import help_s
from bench.turn import Ground, direct, mock_nodes, proxied

DIRECT = "no proxy"


def run(options: Options) -> list[Section]:
    """Alternate the turns, so that a machine that grows slower or faster does so for everyone."""
    notes: list[str] = []
    peers = _install([peer for peer in PEERS if peer.name.lower() not in options.without], notes)
    cores = choose_cores()
    notes += [cores.note, f"load by {generator()}"]
    samples: Samples = {}
    with mock_nodes(cores) as nodes:
        ground = Ground(cores=cores, nodes=nodes, options=options)
        for number in range(options.rounds):
            _round(number, peers, ground, samples, notes)
    if options.wants("idle"):
        samples["casona --help"] = [{"start_s": took_s} for took_s in help_s()]
    return sections(samples, options, notes)


def _install(peers: Sequence[type[Peer]], notes: list[str]) -> list[type[Peer]]:
    """Those that could be installed; of the others a note says why they are left out."""
    found: list[type[Peer]] = []
    for peer in peers:
        try:
            notes.append(f"{peer.name} {peer.install()}")
            found.append(peer)
        except Unavailable as fault:
            notes.append(f"{peer.name} is left out: {fault}")
            print(notes[-1], flush=True)
    return found


def _round(
    number: int, peers: Sequence[type[Peer]], ground: Ground, samples: Samples, notes: list[str]
) -> None:
    samples.setdefault(DIRECT, []).append(direct(ground))
    for peer in peers:
        figures = {}
        try:
            figures = proxied(peer, ground)
        except (NotReady, subprocess.CalledProcessError) as fault:
            notes.append(f"{peer.name} is left out of round {number + 1}: {fault}")
            print(notes[-1], flush=True)
        samples.setdefault(peer.name, []).append(figures)
        print(f"round {number + 1} of {ground.options.rounds}: {peer.name}: {_line(figures)}", flush=True)


def _line(figures: dict[str, float]) -> str:
    shown = {"requests_per_s": "requests/s", "p50_us": "us p50", "stream_p99_ms": "ms p99 per chunk"}
    return ", ".join(f"{figures[name]:,.1f} {unit}" for name, unit in shown.items() if name in figures) or "–"
