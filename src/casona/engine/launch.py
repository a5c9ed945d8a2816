"""Start the child of a model whose memory has been found, and see it serve."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from casona.engine import probe
from casona.engine.gguf import BrokenModel, Header, read_header
from casona.engine.loaded import Loaded
from casona.engine.options import LaunchPlan, UnknownOption, arguments
from casona.engine.plan import Extras, Planner
from casona.engine.process import Child, ChildFailed
from casona.engine.room import Room
from casona.engine.shelf import ModelFile
from casona.engine.sizing import TooBig
from casona.exchange.errors import NoNodeReady

PORT_TRIES = 3
KILLED_TRIES = 2  # killed twice, it is for lack of memory
TRIAL_LIMIT_S = 600.0
_log = logging.getLogger(__name__)


async def launch(loaded: Loaded, planner: Planner, extras: Extras, room: Room) -> None:
    """Size it, take its memory, start its child and wait until it serves. Raises TooBig, ChildFailed.

    The memory is taken from `room` and stays taken: the caller gives it back.
    """
    sizing = loaded.sizing = planner.size(loaded.file, extras)
    for warning in sizing.warnings:
        _log.warning("%s: %s", loaded.name, warning)
    await room.take(loaded, planner.budget.memory_bytes)
    try:
        child = await _start(loaded, planner.plan(loaded.file, sizing, extras), planner)
    except ChildFailed as error:
        if extras == Extras():
            raise
        _log.warning("%s goes without adapters and draft model; with them: %s", loaded.name, error)
        child = await _start(loaded, planner.plan(loaded.file, sizing, Extras()), planner)
    context = await asyncio.to_thread(probe.context_tokens, child.url, child.api_key)
    loaded.sizing = replace(sizing, context_tokens=context or sizing.context_tokens)


async def trial(path: Path, mmproj: Path | None, planner: Planner, room: Room) -> str:
    """Why this model does not work, or "": it is loaded and answers one token."""
    try:
        header = await asyncio.to_thread(read_header, path)
    except BrokenModel as error:
        return str(error)
    loaded = Loaded(file=_unshelved(path, mmproj, header), keep_alive_s=0)
    try:
        async with asyncio.timeout(TRIAL_LIMIT_S):
            await launch(loaded, planner, Extras(), room)
            return await _answers(loaded)
    except (TooBig, ChildFailed) as error:
        return str(error)
    except TimeoutError:
        if loaded.child is None:
            raise NoNodeReady(f"no memory came free to try {path.name} in") from None
        return f"did not load and answer within {TRIAL_LIMIT_S:.0f} s"
    finally:
        if loaded.child:
            await loaded.child.stop()
        loaded.state = "gone"
        room.leave(loaded)


def _unshelved(path: Path, mmproj: Path | None, header: Header) -> ModelFile:
    return ModelFile(
        name=path.name,
        path=path,
        files=_parts(path, header.split_count),
        mmproj=mmproj,
        size_bytes=header.tensor_bytes * header.split_count,
        digest="",
        modified_s=0,
        header=header,
    )


def _parts(first: Path, count: int) -> tuple[Path, ...]:
    """A model's files, given the first of them: `…-00001-of-00003.gguf`."""
    numbers = range(1, count + 1)
    return tuple(first.with_name(first.name.replace("-00001-of-", f"-{number:05}-of-")) for number in numbers)


async def _answers(loaded: Loaded) -> str:
    child = loaded.child
    assert child
    kind = child.plan.kind
    reason = await asyncio.to_thread(probe.try_out, child.url, child.api_key, kind, timeout_s=TRIAL_LIMIT_S)
    return await child.cause() if reason and child.is_gone() else reason


async def _start(loaded: Loaded, plan: LaunchPlan, planner: Planner) -> Child:
    """Try again when somebody took the port meanwhile, and once when the child was killed."""
    program = planner.backend.program
    tries = 0
    while True:
        tries += 1
        try:
            command = [str(program.path), *arguments(plan, program.flags)] if program else []
            child = loaded.child = await Child.start(plan, command)
            await child.ready()
        except (OSError, UnknownOption) as error:
            raise ChildFailed(str(error)) from error
        except ChildFailed as error:
            port_taken = program and "bind" in str(error)
            if tries >= (PORT_TRIES if port_taken else KILLED_TRIES if error.killed else 1):
                raise
        else:
            return child
