"""The load: as many unstreamed chats as a number of connections can ask for, one after another on each.

wrk makes it where it is installed. Elsewhere a load generator in Python stands in for it, which is slower
than nginx, and the notes say so. Run that as `python -m bench.load`, its orders as JSON on standard input.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

import httptools

from bench.calls import Call
from bench.mock_node import run
from bench.options import CHECKOUT
from bench.place import pin
from bench.report import percentile

WRK_SCRIPT = """
wrk.method = "POST"
wrk.path = %s
wrk.body = %s
%s
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%%d,"took_us":%%d,"p50_us":%%.1f,"p99_us":%%.1f,"errors":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class LoadFigures:
    requests_per_s: float
    p50_us: float
    p99_us: float
    errors: int


def generator() -> str:
    """What makes the load on this machine."""
    return "wrk" if shutil.which("wrk") else "python (install wrk for a load that no proxy outruns)"


def load(call: Call, *, connections: int, seconds: float, core: int | None) -> LoadFigures:
    """Ask for `seconds`, from a process on `core`. Raises CalledProcessError when the load cannot be made."""
    if not shutil.which("wrk"):
        return _from_python(call, connections=connections, seconds=seconds, core=core)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(wrk_script(call))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout=30s"]
        said = _run([*command, "-s", script.name, f"http://127.0.0.1:{call.port}"], core)
    found = json.loads(said.strip().splitlines()[-1])
    return LoadFigures(
        found["requests"] / found["took_us"] * 1e6, found["p50_us"], found["p99_us"], found["errors"]
    )


def wrk_script(call: Call) -> str:
    headers = {"content-type": "application/json", **call.headers}
    lines = "\n".join(f"wrk.headers[ {_lua(name)} ] = {_lua(value)}" for name, value in headers.items())
    return WRK_SCRIPT % (_lua(call.path), _lua(call.body(stream=False).decode()), lines)


def _lua(text: str) -> str:
    """A Lua string: long brackets, with more equals signs than any in the text."""
    signs = "=" * (text.count("=") + 1)
    return f"[{signs}[{text}]{signs}]"


def _from_python(call: Call, *, connections: int, seconds: float, core: int | None) -> LoadFigures:
    orders = {"call": asdict(call), "connections": connections, "seconds": seconds}
    return LoadFigures(**json.loads(_run([sys.executable, "-m", "bench.load"], core, json.dumps(orders))))


def _run(command: Sequence[str], core: int | None, text: str | None = None) -> str:
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
        preexec_fn=partial(pin, core),
    )
    return done.stdout


class Asker(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, latencies_s: list[float], faults: list[int]) -> None:
        self._request = request
        self._latencies_s = latencies_s
        self._faults = faults
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._latencies_s.append(time.perf_counter() - self._asked_s)
        if self._parser.get_status_code() != 200:
            self._faults.append(self._parser.get_status_code())
        self._ask()

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        self.transport.write(self._request)


async def _ask_for(call: Call, connections: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    faults: list[int] = []
    request = call.request(stream=False)
    askers: list[Any] = []
    started_s = time.perf_counter()
    for _ in range(connections):
        made = await loop.create_connection(
            lambda: Asker(request, latencies_s, faults), "127.0.0.1", call.port
        )
        askers.append(made[1])
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - started_s
    for asker in askers:
        asker.transport.abort()
    ordered = sorted(latencies_s)
    p50, p99 = (percentile(ordered, share) * 1e6 for share in (0.50, 0.99))
    print(json.dumps(asdict(LoadFigures(len(ordered) / took_s, p50, p99, len(faults)))))


def main() -> None:
    orders = json.load(sys.stdin)
    run(_ask_for(Call(**orders["call"]), orders["connections"], orders["seconds"]))


if __name__ == "__main__":
    main()
