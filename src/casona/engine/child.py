"""The process of one loaded model: `python -m casona.engine.child`.

It reads its orders as one line of JSON on standard input, serves on a free loopback port, prints one line
of JSON with the address, and ends when standard input closes, which the kernel sees to however the parent
ends. llama.cpp's log goes to standard error.

Loading holds the interpreter's lock for minutes, so no thread of Python can be the guard then: on Linux
the kernel kills the process with its parent, elsewhere a forked process watches. Both stay when the
process becomes a system `llama-server`.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO

from casona.engine.options import LaunchPlan, common_params

PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """`program` is the llama-server to become, with its arguments; empty for the built-in server."""

    plan: LaunchPlan
    api_key: str
    parent: int
    program: tuple[str, ...] = ()


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        return
    report = _private_stdout()
    if line.strip() == '"devices"':
        _report(report, devices=_devices())
        return
    orders = _parse(line)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever was inherited, it ends us
    _end_with(orders.parent)
    _go_first_when_memory_is_out()
    if orders.program:
        _become(orders, report)
    _serve(orders, report)


def _parse(line: str) -> Orders:
    fields = json.loads(line)
    plan: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in fields.pop("plan").items()
    }
    return Orders(plan=LaunchPlan(**plan), **fields | {"program": tuple(fields["program"])})


def _private_stdout() -> TextIO:
    """Keep standard output for our own line: what libraries print goes to standard error."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return report


def _report(report: TextIO, **fields: Any) -> None:
    print(json.dumps(fields), file=report, flush=True)


def _devices() -> list[dict[str, Any]]:
    import xllamacpp

    return [
        {key: device[key] for key in ("name", "description", "memory_total")}
        for device in xllamacpp.get_device_info()
    ]


def _end_with(parent: int) -> None:
    """End when the parent does, even while the interpreter is locked."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    else:
        _fork_guard()
    if os.getppid() != parent:  # it ended before the guard stood
        os._exit(1)


def _go_first_when_memory_is_out() -> None:
    """A model can be loaded again; the house should not be the one that Linux kills."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")


def _fork_guard() -> None:
    """A second process that kills this one when standard input closes, and ends when this one does."""
    guarded = os.getpid()
    watched, held = os.pipe()
    os.set_inheritable(held, True)  # it must outlive an exec
    if os.fork():
        os.close(watched)
        return
    os.close(held)
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    poll.register(watched, select.POLLHUP)
    closed = {file for file, _ in poll.poll()}
    if watched not in closed:
        os.kill(guarded, signal.SIGKILL)
    os._exit(0)


def _become(orders: Orders, report: TextIO) -> NoReturn:
    """Turn this process into the system's llama-server; its pid and its guards stay."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _report(report, url=f"http://127.0.0.1:{port}", ready=False)
    own = {key: value for key, value in os.environ.items() if not key.startswith("LLAMA_ARG_")}
    os.execve(  # noqa: S606 - no shell is wanted
        orders.program[0],
        [*orders.program, "--host", "127.0.0.1", "--port", str(port)],
        own | {"LLAMA_API_KEY": orders.api_key},  # not on the command line, which every user can read
    )


def _serve(orders: Orders, report: TextIO) -> None:
    import xllamacpp

    threading.Thread(target=_leave_when_input_closes, daemon=True).start()
    params = common_params(orders.plan, xllamacpp)
    params.api_keys = [orders.api_key]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        _report(report, fault=str(error))
        sys.exit(1)  # in order: llama.cpp's log says more, and is written by a thread of its own
    _report(report, url=server.listening_address, ready=True)
    while True:
        signal.pause()


def _leave_when_input_closes() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
