"""The gateway's end of the wire to the supervisor."""

import asyncio
import dataclasses
import itertools
import math
import os
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from chromepool import errors, wire
from chromepool.channel import Channel
from chromepool.gateway.log import get_logger
from chromepool.model import ChromeOptions, File, Limits, Usage

log = get_logger("chromepool.gateway.supervisor")

T = TypeVar("T")
_FilesAnswer = tuple[tuple[File, ...], list[int]]
_FAILURES: dict[str, type[errors.ChromepoolError]] = {
    kind.code: kind for kind in (errors.StartFailed, errors.ProfileInUse, errors.InvalidRequest)
}


@dataclasses.dataclass(frozen=True, slots=True)
class Spawned:
    """A Chrome that runs; the descriptors are the receiver's to close."""

    key: int
    pid: int
    profile: str
    commands: int
    """Write end of Chrome's pipe."""
    events: int
    """Read end of Chrome's pipe."""

    def close(self) -> None:
        """Close both ends of the pipe."""
        _close(self.commands, self.events)


@dataclasses.dataclass(frozen=True, slots=True)
class SessionOffered(Spawned):
    """A session of an earlier gateway."""

    snapshot: int
    """File in memory with the :class:`SessionSnapshot`."""


class SupervisorClient:
    """Sends requests to the supervisor, and publishes what the supervisor reports: offered sessions
    and messages, the end of the supervisor as a shutdown without time."""

    def __init__(self, sock: socket.socket, publish: Callable[[object], None]) -> None:
        self._channel = Channel(sock, most_unsent=math.inf)
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._spawning: dict[int, asyncio.Future[Spawned]] = {}
        self._files: dict[int, asyncio.Future[_FilesAnswer]] = {}
        self._numbers = itertools.count(1)
        self._inspecting: dict[int, asyncio.Future[wire.Inspected]] = {}
        self._reloading: asyncio.Future[None] | None = None
        self._offered = asyncio.Semaphore(0)
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: wire.Message, fds: tuple[int, ...] = ()) -> None:
        """Send a message without an answer, once the supervisor takes it; ``fds`` are closed. No
        coroutine: a caller that is cancelled must not leave half a conversation behind."""
        self._channel.queue(message, fds)
        self._flush()

    def _flush(self) -> None:
        """Send what the supervisor takes now, and the rest when it reads again."""
        try:
            self._channel.flush()
        except (OSError, errors.WireError) as error:  # _read sees the end as well, and reports it
            log.error("wire.unsent", error=error)
        if self._channel.unsent:
            self._loop.add_writer(self._channel.sock.fileno(), self._flush)
        else:
            self._loop.remove_writer(self._channel.sock.fileno())

    @property
    def unsent(self) -> int:
        """Messages that the supervisor has not taken yet."""
        return self._channel.unsent

    async def adopted(self, number: int) -> None:
        """Wait until this many sessions of the gateway before were offered."""
        for _ in range(number):
            await self._offered.acquire()

    async def reload(self) -> None:
        """Have the settings read again and this gateway replaced; return when the next gateway is
        starting. Raises :class:`ReloadRefused`."""
        if self._reloading is None:
            self._reloading = self._loop.create_future()
            self.send(wire.Reload())
        await asyncio.shield(self._reloading)

    async def spawn(
        self, key: int, limits: Limits, launch: ChromeOptions, *, protocol_port: bool = False
    ) -> Spawned:
        """Start a Chrome; the descriptors are the caller's. Raises :class:`StartFailed`,
        :class:`ProfileInUse`, :class:`InvalidRequest`."""
        answer = self._spawning[key] = self._loop.create_future()
        self.send(wire.Spawn(key, limits, launch, protocol_port))
        return await _take(answer, Spawned.close)

    async def inspect(self, key: int) -> wire.Inspected:
        """Measure a session, and read the last of its stderr; raises :class:`BrowserGone`."""
        answer = self._inspecting.get(key)
        if answer is None:
            answer = self._inspecting[key] = self._loop.create_future()
            self.send(wire.Inspect(key))
        return await asyncio.shield(answer)

    async def list_files(self, key: int) -> tuple[File, ...]:
        """List the files that a session has downloaded; raises :class:`ItemNotFound`."""
        return (await self._ask_files(key, "list", ""))[0]

    async def open_file(self, key: int, name: str) -> int:
        """Open a file, the caller's to close; raises :class:`ItemNotFound`."""
        return (await self._ask_files(key, "open", name))[1][0]

    async def remove_file(self, key: int, name: str) -> None:
        """Remove a file; raises :class:`ItemNotFound`."""
        await self._ask_files(key, "remove", name)

    async def _ask_files(self, key: int, verb: str, name: str) -> _FilesAnswer:
        number = next(self._numbers)
        answer = self._files[number] = self._loop.create_future()
        self.send(wire.FileRequest(number, key, verb, name))
        return await _take(answer, lambda found: _close(*found[1]))

    def close(self) -> None:
        """Close the wire."""
        self._loop.remove_reader(self._channel.sock.fileno())
        self._loop.remove_writer(self._channel.sock.fileno())
        self._channel.close()

    def _read(self) -> None:
        try:
            received = self._channel.receive()
        except BlockingIOError:
            return
        except (OSError, errors.WireError) as error:
            log.critical("wire.broken", error=error)
            received = None
        if received is None:
            self._loop.remove_reader(self._channel.sock.fileno())
            log.critical("supervisor.gone")
            self._publish(wire.Shutdown(0.0))
            return
        self._on_message(*received)

    def _on_message(self, message: wire.Message, fds: list[int]) -> None:
        match message:
            case wire.Ping():
                self.send(wire.Pong())
            case wire.Adopt():
                self._on_adopt(message, fds)
            case wire.Reloading(error=error):
                self._on_reloading(error)
            case wire.Spawned(key, pid, profile):
                _settle(self._spawning.pop(key), Spawned(key, pid, profile, *fds), fds)
            case wire.SpawnFailed():
                self._on_failure(message)
            case wire.FileAnswer(number=number, error=error):
                refusal = errors.ItemNotFound(f"There is no such download: {error}.")
                _settle(self._files.pop(number), refusal if error else (message.files, fds), fds)
            case wire.Inspected(key=key):
                _settle(self._inspecting.pop(key, None), message)
            case wire.Gone(key=key):
                _settle(self._inspecting.pop(key, None), errors.BrowserGone("The session is gone."))
                self._publish(message)
            case wire.Exited() | wire.Handover() | wire.Shutdown():
                self._publish(message)
            case _:
                raise errors.WireError(f"The supervisor does not send {type(message).__name__}.")

    def _on_adopt(self, message: wire.Adopt, fds: list[int]) -> None:
        try:
            self._publish(SessionOffered(message.key, message.pid, message.profile, *fds))
        finally:  # one that cannot be adopted must not keep all others waiting
            self._offered.release()

    def _on_reloading(self, error: str) -> None:
        result = errors.ReloadRefused(f"The settings stay as they were: {error}") if error else None
        _settle(self._reloading, result)
        self._reloading = None

    def _on_failure(self, message: wire.SpawnFailed) -> None:
        answer = self._spawning.pop(message.key)
        if answer.done():  # its caller hung up and waits for nothing but the end
            self._publish(wire.Gone(message.key, Usage()))
        else:
            kind = _FAILURES.get(message.code, errors.StartFailed)
            answer.set_exception(kind(message.detail, remedy=message.remedy))


def _settle(
    answer: asyncio.Future[T] | None, result: T | errors.ChromepoolError, fds: Sequence[int] = ()
) -> None:
    """Settle an answer; the descriptors in it are closed where its caller hung up."""
    if answer is None or answer.done():
        _close(*fds)
    elif isinstance(result, errors.ChromepoolError):
        answer.set_exception(result)
        answer.exception()  # or asyncio would report that nobody has asked for it
    else:
        answer.set_result(result)


async def _take(answer: asyncio.Future[T], close: Callable[[T], None]) -> T:
    """Wait for an answer with descriptors, which are closed where it came in the turn of the loop
    in which its caller was cancelled."""
    try:
        return await answer
    except asyncio.CancelledError:
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            close(answer.result())
        raise


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
