"""The pipe to Chrome on a real event loop, with real pipes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from chromepool.gateway.browser.pipe import HIGH_WATER_BYTES, LOW_WATER_BYTES, Pipe

PIPE_BYTES = 4096


class Rig:
    """A pipe and its far end, which blocks."""

    def __init__(self) -> None:
        self.takes, commands = os.pipe()
        events, self.says = os.pipe()
        fcntl.fcntl(commands, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.fds = (commands, events)
        self.messages: list[bytes] = []
        self.pressure: list[bool] = []
        self.ends = 0
        self.changed = asyncio.Event()
        self.pipe = Pipe(commands, events, self._on_message, self._on_end, self._on_pressure)

    def _on_message(self, message: bytes) -> None:
        self.messages.append(message)
        self.changed.set()

    def _on_end(self, _: str) -> None:
        self.ends += 1
        self.changed.set()

    def _on_pressure(self, pressed: bool) -> None:
        self.pressure.append(pressed)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def read_in_thread(self, count: int, chunk: int = 65536) -> asyncio.Future[bytes]:
        """``count`` bytes of what Chrome would read, read elsewhere."""

        def read() -> bytes:
            parts, left = [], count
            while left:
                parts.append(os.read(self.takes, min(chunk, left)))
                left -= len(parts[-1])
                if not parts[-1]:
                    break
            return b"".join(parts)

        return asyncio.get_running_loop().run_in_executor(None, read)

    def hang_up(self) -> None:
        """Chrome's ends are closed."""
        for fd in (self.takes, self.says):
            if fd >= 0:
                os.close(fd)
        self.takes = self.says = -1

    def stop_taking(self) -> None:
        """Only the end that Chrome reads is closed."""
        os.close(self.takes)
        self.takes = -1

    def close(self) -> None:
        self.pipe.close()
        self.hang_up()


Test = Callable[[Rig], Coroutine[Any, Any, None]]
Run = Callable[[Test], None]


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """uvloop keeps descriptors from its first loop on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test's coroutine with a rig of its own on one of the two loops."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    async def whole(test: Test) -> None:
        rig = Rig()
        try:
            await test(rig)
        finally:
            rig.close()

    def start(test: Test) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(whole(test))

    return start


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_messages_come_out_in_order_however_they_were_written(run: Run) -> None:
    async def test(rig: Rig) -> None:
        sent = [b"%d" % number * (number % 700) for number in range(400)]
        stream = b"".join(message + b"\0" for message in sent)

        def write() -> None:
            for at in range(0, len(stream), 777):
                os.write(rig.says, stream[at : at + 777])

        writer = asyncio.get_running_loop().run_in_executor(None, write)
        await rig.until(lambda: len(rig.messages) == len(sent))
        await writer
        assert rig.messages == sent

    run(test)


def test_a_message_longer_than_one_read(run: Run) -> None:
    async def test(rig: Rig) -> None:
        message = os.urandom(3 << 20).replace(b"\0", b"x")
        writer = threading.Thread(target=_write_all, args=(rig.says, message + b"\0next\0"))
        writer.start()
        await rig.until(lambda: len(rig.messages) == 2)
        writer.join()
        assert rig.messages == [message, b"next"]

    run(test)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def test_partial_writes_keep_bytes_and_order(run: Run) -> None:
    async def test(rig: Rig) -> None:
        sent = [bytes([65 + number % 26]) * (number * 37 % 9000) + b"\0" for number in range(900)]
        for message in sent:
            rig.pipe.write(message)
        expected = b"".join(sent)
        assert 0 < rig.pipe.backlog_bytes < len(expected)
        assert await rig.read_in_thread(len(expected), chunk=1000) == expected
        await _until_empty(rig)

    run(test)


async def _until_empty(rig: Rig) -> None:
    async with asyncio.timeout(20):
        while rig.pipe.backlog_bytes:
            await asyncio.sleep(0)


def test_a_write_between_two_flushes_does_not_overtake(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.pipe.write(b"a" * 3 * PIPE_BYTES)
        assert os.read(rig.takes, PIPE_BYTES) == b"a" * PIPE_BYTES
        rig.pipe.write(b"b")  # there is room for it, but it is not its turn
        data = await rig.read_in_thread(2 * PIPE_BYTES + 1)
        assert data == b"a" * 2 * PIPE_BYTES + b"b"
        await _until_empty(rig)
        rig.pipe.write(b"")
        rig.pipe.write(b"c")  # and with nothing waiting it goes at once
        assert rig.pipe.backlog_bytes == 0
        assert os.read(rig.takes, 10) == b"c"

    run(test)


def test_pressure_is_told_once_and_taken_back_once(run: Run) -> None:
    async def test(rig: Rig) -> None:
        for _ in range(2):
            rig.pressure.clear()
            rig.pipe.write(b"x" * HIGH_WATER_BYTES)
            assert rig.pressure == []
            rig.pipe.write(b"x" * 2 * PIPE_BYTES)
            assert rig.pressure == [True]
            rig.pipe.write(b"x" * HIGH_WATER_BYTES)
            assert rig.pressure == [True]
            waiting = rig.pipe.backlog_bytes
            reader = rig.read_in_thread(waiting + PIPE_BYTES)
            await rig.until(lambda: False in rig.pressure)
            assert rig.pipe.backlog_bytes < LOW_WATER_BYTES
            await reader
            await _until_empty(rig)
            assert rig.pressure == [True, False]

    run(test)


def test_a_big_backlog_is_not_copied_at_every_write(run: Run) -> None:
    """32 MiB in steps of 4 KiB: to copy the rest each time would move 128 GiB."""

    async def test(rig: Rig) -> None:
        data = bytes(range(256)) * (32 << 12)
        rig.pipe.write(data)
        async with asyncio.timeout(20):
            assert await rig.read_in_thread(len(data)) == data

    run(test)


def test_end_of_file_is_told_once_and_closes(run: Run) -> None:
    async def test(rig: Rig) -> None:
        os.write(rig.says, b"last\0half")
        rig.hang_up()
        await rig.until(lambda: rig.ends > 0)
        assert rig.messages == [b"last"]
        assert rig.pipe.closed
        assert not any(_is_open(fd) for fd in rig.fds)
        rig.pipe.write(b"to nobody")
        rig.pipe.close()
        rig.pipe.resume()
        rig.pipe.pause()
        assert rig.ends == 1
        assert rig.pipe.backlog_bytes == 0

    run(test)


def test_a_chrome_that_does_not_take_any_more(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.stop_taking()
        rig.pipe.write(b"x")
        assert rig.ends == 1
        assert rig.pipe.closed
        rig.pipe.write(b"x")
        assert rig.ends == 1
        assert not any(_is_open(fd) for fd in rig.fds)

    run(test)


def test_a_chrome_that_dies_with_a_backlog_before_it(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.pipe.write(b"x" * 10 * PIPE_BYTES)
        rig.stop_taking()
        await rig.until(lambda: rig.ends > 0)
        assert rig.ends == 1
        assert rig.pipe.backlog_bytes == 0
        assert not any(_is_open(fd) for fd in rig.fds)

    run(test)


def test_closing_twice_and_saying_nothing(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.pipe.write(b"x" * 10 * PIPE_BYTES)
        rig.pipe.close()
        assert not any(_is_open(fd) for fd in rig.fds)
        reused = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        rig.pipe.close()
        assert all(_is_open(fd) for fd in reused)  # the same numbers, somebody else's now
        for fd in reused:
            os.close(fd)
        await asyncio.sleep(0)
        assert rig.ends == 0

    run(test)


def test_chrome_sees_the_end(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.pipe.close()
        assert os.read(rig.takes, 10) == b""
        with pytest.raises(BrokenPipeError):
            os.write(rig.says, b"x")

    run(test)


def test_paused_it_leaves_chrome_to_wait(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.pipe.pause()
        rig.pipe.pause()
        os.write(rig.says, b"one\0")
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.messages == []
        rig.pipe.resume()
        rig.pipe.resume()
        await rig.until(lambda: rig.messages == [b"one"])
        rig.pipe.pause()
        os.write(rig.says, b"two\0")
        rig.hang_up()
        rig.pipe.resume()
        await rig.until(lambda: rig.ends == 1)
        assert rig.messages == [b"one", b"two"]

    run(test)


def test_closed_while_paused(run: Run) -> None:
    async def test(rig: Rig) -> None:
        rig.pipe.pause()
        rig.pipe.close()
        assert not any(_is_open(fd) for fd in rig.fds)

    run(test)


def test_closed_by_what_it_says(run: Run) -> None:
    """A message may end the session: the rest of the same read is for nobody."""

    async def test(rig: Rig) -> None:
        received = []

        def on_message(message: bytes) -> None:
            received.append(message)
            pipe.close()

        ends: list[str] = []
        takes, commands = os.pipe()
        events, says = os.pipe()
        pipe = Pipe(commands, events, on_message, ends.append, lambda _: None)
        os.write(says, b"one\0two\0three\0")
        async with asyncio.timeout(20):
            while not received:
                await asyncio.sleep(0)
        os.close(takes)
        os.close(says)
        assert received == [b"one"]
        assert ends == []

    run(test)
