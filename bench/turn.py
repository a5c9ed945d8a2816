"""One turn of one proxy: started fresh, measured alone on its core, stopped."""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.calls import ANSWER, Call
from bench.load import LoadFigures, load
from bench.options import CHECKOUT, Options
from bench.peers.base import Nodes, Peer, Unavailable
from bench.peers.nginx import node_command
from bench.place import Cores, pin
from bench.program import NotReady, Program, free_port

CONNECTIONS = 32
STREAMS = 400
WARM_S = 1.0
SETTLE_S = 2.0
MEASURES = ("gateway", "streams", "idle")

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all turns share."""

    cores: Cores
    nodes: Nodes
    options: Options


@contextmanager
def mock_nodes(cores: Cores) -> Iterator[Nodes]:
    """Both nodes on the load's core: nginx answers at once where it is installed, Python streams."""
    nodes = Nodes(free_port(), free_port())
    mock = [sys.executable, "-m", "bench.mock_node"]
    with tempfile.TemporaryDirectory(prefix="casona-bench-") as made:
        folder = Path(made)
        try:
            instant = node_command(folder, nodes.instant)
        except Unavailable:
            instant = [*mock, str(nodes.instant)]
        streams: list[str | Path] = [*mock, str(nodes.streams)]
        with (
            Program(instant, log=folder / "instant.log", core=cores.load, cwd=CHECKOUT) as first,
            Program(streams, log=folder / "streams.log", core=cores.load, cwd=CHECKOUT) as second,
        ):
            first.wait_ready(nodes.instant, "/v1/models")
            second.wait_ready(nodes.streams, "/v1/models")
            yield nodes


def direct(ground: Ground) -> Figures:
    """The nodes with no proxy before them: what the load and the machine cost by themselves."""
    figures: Figures = {}
    if ground.options.wants("gateway"):
        call = Call(port=ground.nodes.instant)
        figures |= _one_connection(call, ground) | _many_connections(call, ground, None)
    if ground.options.wants("streams"):
        figures |= _streams(Call(port=ground.nodes.streams), ground, None)
    return figures


def proxied(kind: type[Peer], ground: Ground) -> Figures:
    """All figures of one proxy that were asked for. Raises NotReady, CalledProcessError.

    Streams get a start of their own: some proxies go on with them long after the client has left, and memory
    that a heavy load has left behind would hide what streams need.
    """
    with tempfile.TemporaryDirectory(prefix="casona-bench-") as folder:
        peer = kind(Path(folder), free_port(), ground.nodes)
        peer.prepare()
        figures: Figures = {}
        if peer.keeps_state:
            with peer.start(ground.cores.proxy) as program:
                figures["first_start_s"] = program.wait_ready(peer.port, peer.health)
        if ground.options.wants("idle") or ground.options.wants("gateway"):
            with peer.start(ground.cores.proxy) as program:
                figures["start_s"] = program.wait_ready(peer.port, peer.health)
                figures |= _idle_and_loaded(peer, program, ground)
        if ground.options.wants("streams"):
            with peer.start(ground.cores.proxy) as program:
                program.wait_ready(peer.port, peer.health)
                _warm(peer.call(streamed=False), ground)
                figures |= _streams(peer.call(streamed=True), ground, program)
        return figures


def _idle_and_loaded(peer: Peer, program: Program, ground: Ground) -> Figures:
    figures: Figures = {}
    if ground.options.wants("idle"):
        time.sleep(SETTLE_S)
        figures["idle_mb"] = program.resident_bytes() / 1e6
    if ground.options.wants("gateway"):
        call = peer.call(streamed=False)
        _warm(call, ground)
        figures |= _one_connection(call, ground) | _many_connections(call, ground, program)
        figures["loaded_mb"] = program.resident_bytes() / 1e6
    return figures


def _warm(call: Call, ground: Ground) -> None:
    """Late imports and compilers do their work before the measuring. Raises NotReady."""
    _check(call)
    load(call, connections=1, seconds=WARM_S, core=ground.cores.load)


def _check(call: Call) -> None:
    """A proxy is measured only when it passes the node's answer on. Raises NotReady."""
    connection = http.client.HTTPConnection("127.0.0.1", call.port, timeout=60)
    headers = {"content-type": "application/json", **call.headers}
    with closing(connection):
        connection.request("POST", call.path, call.body(stream=False), headers)
        reply = connection.getresponse()
        said = reply.read().decode(errors="replace")
    if reply.status != 200 or ANSWER not in said:
        raise NotReady(f"it answered {reply.status} {said[:200]}")


def _one_connection(call: Call, ground: Ground) -> Figures:
    found = load(call, connections=1, seconds=ground.options.seconds, core=ground.cores.load)
    return {"p50_us": found.p50_us, "p99_us": found.p99_us, "errors_1": found.errors}


def _many_connections(call: Call, ground: Ground, program: Program | None) -> Figures:
    """Throughput, and how much of its core the proxy used: well below 1, something else was the limit."""
    measure = partial(load, call, connections=CONNECTIONS, core=ground.cores.load)
    measure(seconds=WARM_S)
    used_s, started_s = program.cpu_s() if program else 0.0, time.monotonic()
    found: LoadFigures = measure(seconds=ground.options.seconds)
    figures = {"requests_per_s": found.requests_per_s, "errors_32": found.errors}
    if program:
        figures["core_used"] = (program.cpu_s() - used_s) / (time.monotonic() - started_s)
    return figures


def _streams(call: Call, ground: Ground, program: Program | None) -> Figures:
    before_bytes = program.resident_bytes() if program else 0
    orders = {"call": asdict(call), "streams": STREAMS, "seconds": ground.options.seconds}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.streams"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        preexec_fn=partial(pin, ground.cores.load),
    ) as client:
        assert client.stdin and client.stdout
        client.stdin.write(json.dumps(orders) + "\n")
        client.stdin.flush()
        client.stdout.readline()
        said = client.stdout.readline()
        if not said:
            raise NotReady("its streams could not be opened")
        measured = json.loads(said)
        grown_bytes = (program.resident_bytes() if program else 0) - before_bytes
        client.stdin.write("\n")
    figures: Figures = {f"stream_{name}": value for name, value in measured.items()}
    if program and measured["open"]:
        figures["stream_kb"] = grown_bytes / measured["open"] / 1000
    return figures
