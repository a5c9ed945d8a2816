"""How the house and the library's process talk: calls both ways over two pipes.

A frame is its length (4 bytes, big-endian) and a MessagePack array (see the structs). Either side may call
the other at any time; answers come in any order, and a call may tell of its progress before it is answered.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec

from casona.exchange import errors
from casona.exchange.errors import CasonaError

log = logging.getLogger(__name__)

HEAD = struct.Struct(">I")
MAX_FRAME_BYTES = 2**30


class Call(msgspec.Struct, array_like=True, tag="call", frozen=True):
    id: int
    method: str
    arguments: dict[str, Any]


class Answer(msgspec.Struct, array_like=True, tag="answer", frozen=True):
    id: int
    value: Any


class Failure(msgspec.Struct, array_like=True, tag="failure", frozen=True):
    """`kind` is the error's class in exchange/errors.py, or "" for any other."""

    id: int
    kind: str
    status: int
    message: str
    param: str | None


class Told(msgspec.Struct, array_like=True, tag="told", frozen=True):
    """How far a call has come."""

    id: int
    value: Any


Frame = Call | Answer | Failure | Told
Tell = Callable[[Any], None]
Serve = Callable[[str, dict[str, Any], Tell], Awaitable[Any]]
"""(method, arguments, tell of progress) to the answer. Raises CasonaError."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class Gone(CasonaError):
    """The other side has ended."""

    status = 503


class Peer:
    """One end of the pipes. `serve` answers the other side's calls, each in a task of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve) -> None:
        self._reader = reader
        self._writer = writer
        self._serve = serve
        self._next_id = 0
        self._calls: dict[int, tuple[asyncio.Future[Any], Tell]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_gone = False

    async def call(self, method: str, *, tell: Tell = lambda _: None, **arguments: Any) -> Any:
        """Raises CasonaError: the other side's own, or Gone."""
        if self._is_gone:
            raise Gone("it has ended")
        self._next_id += 1
        call_id = self._next_id
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = (answer, tell)
        try:
            self._send(Call(call_id, method, arguments))
            await self._drain()
            return await answer
        finally:
            del self._calls[call_id]

    async def run(self) -> None:
        """Read until the other side ends. Then calls that wait raise Gone, and its own are cancelled."""
        try:
            while True:
                (length,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                if length > MAX_FRAME_BYTES:
                    raise ValueError(f"a frame of {length} bytes")
                self._take(_decode(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (ValueError, msgspec.MsgspecError):
            log.exception("the other side makes no sense")
        finally:
            self._is_gone = True
            for answer, _ in self._calls.values():
                if not answer.done():
                    answer.set_exception(Gone("it has ended"))
            for task in self._tasks:
                task.cancel()
            self._writer.close()

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Call):
            task = asyncio.create_task(self._answer(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        answer, tell = self._calls.get(frame.id, (None, None))
        if answer is None or tell is None or answer.done():
            return  # whoever asked has left
        match frame:
            case Answer(value=value):
                answer.set_result(value)
            case Failure():
                answer.set_exception(_raised(frame))
            case Told(value=value):
                tell(value)

    async def _answer(self, call: Call) -> None:
        loop = asyncio.get_running_loop()

        def tell(value: Any) -> None:
            """From any thread."""
            loop.call_soon_threadsafe(self._send, Told(call.id, value))

        try:
            frame: Frame = Answer(call.id, await self._serve(call.method, call.arguments, tell))
        except CasonaError as fault:
            frame = Failure(call.id, type(fault).__name__, fault.status, str(fault), fault.param)
        except Exception as fault:
            log.exception("%s failed", call.method)
            frame = Failure(
                call.id, "", 500, f"{call.method} failed ({type(fault).__name__}); see the log", None
            )
        self._send(frame)
        await self._drain()

    def _send(self, frame: Frame) -> None:
        if not self._is_gone:
            data = _encode(frame)
            self._writer.write(HEAD.pack(len(data)) + data)

    async def _drain(self) -> None:
        with suppress(ConnectionError):  # `run` will see it
            await self._writer.drain()


def _raised(failure: Failure) -> CasonaError:
    """The error as it was on the other side, as far as it can be."""
    kind: type[CasonaError] = getattr(errors, failure.kind, CasonaError) if failure.kind else CasonaError
    try:
        fault = kind(failure.message)
    except TypeError:  # one that takes more than a message
        fault = CasonaError(failure.message)
    fault.status, fault.param = failure.status, failure.param
    return fault
