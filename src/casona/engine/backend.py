"""Which llama.cpp runs the models, and on what: the built-in one or a system `llama-server`."""

import asyncio
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casona.engine.machine import Machine
from casona.engine.process import builtin_devices
from casona.settings import Engine as EngineSettings

PROGRAM_LIMIT_S = 20.0
# How llama.cpp names its devices (CUDA0, ROCm1, Metal), and what the settings call them.
BACKENDS = {
    **{"CUDA": "cuda", "ROCm": "rocm", "HIP": "rocm", "Vulkan": "vulkan", "SYCL": "sycl"},
    **{"Metal": "metal", "MTL": "metal"},
}
_DEVICE = re.compile(r"^\s+(\w+): (.*) \((\d+) MiB")  # "  CUDA0: NVIDIA H200 (143167 MiB, 142588 MiB free)"
_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU as llama.cpp sees it. `backend` is cuda, rocm, vulkan, sycl or metal."""

    name: str
    backend: str
    description: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A system llama-server: what it can use, and the flags that its help knows."""

    path: Path
    devices: tuple[Device, ...] = ()
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The choice. Without `devices` models run on the processor; `program` None is the built-in engine."""

    devices: tuple[Device, ...] = ()
    program: Program | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.devices[0].backend if self.devices else "cpu"

    @property
    def video_bytes(self) -> int:
        """Memory of its GPUs beside the machine's own; 0 where they share it, as Apple's do."""
        return 0 if self.name == "metal" else sum(device.memory_bytes for device in self.devices)


async def survey(settings: EngineSettings, machine: Machine, home_dir: Path) -> Backend:
    """Ask the engines at hand what they can use, and choose."""
    builtin = tuple(
        device
        for told in await builtin_devices()
        if (device := _device(told["name"], told["description"], told["memory_total"]))
    )
    path = _program_path(settings, machine, builtin, home_dir)
    program = await ask_program(path) if path else None
    return choose(settings, machine, builtin, program)


def choose(
    settings: EngineSettings, machine: Machine, builtin: Sequence[Device], program: Program | None
) -> Backend:
    """Pure: a GPU that the built-in engine can use, else one of the program's, else the processor."""
    warnings = []
    if settings.program and program is None:
        warnings.append(
            f"engine.program: {settings.program} is not there or does not run; the built-in engine is used"
        )
    usable = _wanted(settings, program.devices if program else builtin)
    taken = program if settings.program or usable else None
    if settings.device == "cpu":
        return Backend(program=program if settings.program else None, warnings=tuple(warnings))
    if not usable and settings.device != "auto":
        warnings.append(
            f"engine.device is {settings.device}, which no engine here can use; models run on cpu"
        )
    unused = machine.gpus if not usable else ()
    if unused:
        warnings.append(
            f"a GPU is not used: {', '.join(gpu.name for gpu in unused)}. Put a llama-server built for "
            f"{unused[0].kind} on PATH, or name it in engine.program"
        )
    return Backend(devices=tuple(usable), program=taken, warnings=tuple(warnings))


async def ask_program(path: Path) -> Program | None:
    """What a llama-server says of itself; None if it does not run."""
    told = await _output(path, "--help")
    if told is None:
        return None
    listed = await _output(path, "--list-devices") or ""
    found = [_DEVICE.match(line) for line in listed.splitlines()]
    devices = [_device(match[1], match[2], int(match[3]) * 2**20) for match in found if match]
    flags = frozenset(_FLAG.findall(told))
    return Program(path=path, devices=tuple(filter(None, devices)), flags=flags)


def _program_path(
    settings: EngineSettings, machine: Machine, builtin: Sequence[Device], home_dir: Path
) -> Path | None:
    if settings.program:
        named = Path(settings.program).expanduser()
        found = shutil.which(settings.program) if named.name == settings.program else None
        return Path(found) if found else home_dir / named
    wants_gpu = settings.device != "cpu" and (machine.gpus or settings.device != "auto")
    if wants_gpu and not _wanted(settings, builtin):
        found = shutil.which("llama-server")
        return Path(found) if found else None
    return None


def _wanted(settings: EngineSettings, devices: Sequence[Device]) -> list[Device]:
    """The devices of the backend asked for; with `auto` those of the first backend listed."""
    if settings.device == "cpu" or not devices:
        return []
    backend = devices[0].backend if settings.device == "auto" else settings.device
    return [device for device in devices if device.backend == backend]


def _device(name: str, description: str, memory_bytes: int) -> Device | None:
    backend = next((ours for theirs, ours in BACKENDS.items() if name.startswith(theirs)), None)
    if backend is None:
        return None
    return Device(name=name, backend=backend, description=description, memory_bytes=memory_bytes)


async def _output(program: Path, argument: str) -> str | None:
    """What it prints, on either stream, or None if it does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            argument,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        _log.warning("%s does not run: %s", program, error.strerror)
        return None
    try:
        async with asyncio.timeout(PROGRAM_LIMIT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        _log.warning("%s %s said nothing for %.0f s", program, argument, PROGRAM_LIMIT_S)
        out = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode("utf-8", "replace") if process.returncode == 0 else None
