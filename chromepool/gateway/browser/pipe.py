"""Chrome's DevTools pipe on the event loop."""

import asyncio
import collections
import itertools
import os
import time
from collections.abc import Callable

from chromepool.errors import ChromepoolError
from chromepool.gateway.cdp.framing import Splitter

# All pipes share one buffer, which is empty again before anything else runs. os.read would map and
# unmap a megabyte for each answer of a hundred bytes.
_buffers = [bytearray(1 << 20)]
_view = memoryview(_buffers[0])
HIGH_WATER_BYTES = 4 << 20
LOW_WATER_BYTES = 1 << 20
_PIECES = 256
"""Buffers passed to one writev at most; the kernel takes 1024 (IOV_MAX)."""


class Pipe:
    """Two descriptors: commands are written to one, events are read from the other."""

    def __init__(
        self,
        commands: int,
        events: int,
        on_message: Callable[[bytes], None],
        on_end: Callable[[str], None],
        on_pressure: Callable[[bool], None],
        *,
        on_pause: Callable[[], None] = lambda: None,
        adopted: bool = False,
    ) -> None:
        """``on_pause`` is called after the last message of each read. ``on_end`` is called once,
        when Chrome closes its end, or with a reason when the pipe is closed because of what Chrome
        sent. ``on_pressure`` gets True when Chrome is far behind in reading, and False once it has
        caught up. ``adopted`` means that another process used the pipe before and may have died
        within a message, so that reading begins after the first NUL."""
        self._loop = asyncio.get_running_loop()
        self._commands = commands
        self._events = events
        self._on_message = on_message
        self._on_end = on_end
        self._on_pressure = on_pressure
        self._on_pause = on_pause
        self._splitter = Splitter(amid=adopted)
        self._backlog: collections.deque[memoryview] = collections.deque()
        self._backlog_bytes = 0
        self.read_messages = 0
        self.read_bytes = 0
        self.read_at = 0.0
        """Time of the last read (``time.perf_counter``)."""
        self._pressed = False
        self._reading = False
        self._closed = False
        for fd in (commands, events):
            os.set_blocking(fd, False)
        self.resume()

    @property
    def backlog_bytes(self) -> int:
        """Bytes that Chrome has not read yet."""
        return self._backlog_bytes

    @property
    def pressed(self) -> bool:
        """True while Chrome is far behind in reading."""
        return self._pressed

    @property
    def paused(self) -> bool:
        """True while nothing is read."""
        return not self._reading

    @property
    def closed(self) -> bool:
        """True after the end."""
        return self._closed

    def write(self, data: bytes) -> None:
        """Write, and keep what the pipe does not take. Do nothing after the end."""
        if self._closed:
            return
        if not self._backlog:
            try:
                sent = os.write(self._commands, data)
            except BlockingIOError:
                sent = 0
            except BrokenPipeError:
                self._end()
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._commands, self._flush)
        else:
            sent = 0
        # A view, because Chrome reads 64 KiB at a time: copying the rest each time is quadratic.
        self._backlog.append(memoryview(data)[sent:])
        self._backlog_bytes += len(data) - sent
        if self._backlog_bytes > HIGH_WATER_BYTES and not self._pressed:
            self._pressed = True
            self._on_pressure(True)

    def _flush(self) -> None:
        try:
            sent = os.writev(self._commands, list(itertools.islice(self._backlog, _PIECES)))
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._end()
            return
        self._take_off(sent)
        if not self._backlog:
            self._loop.remove_writer(self._commands)
        if self._pressed and self._backlog_bytes < LOW_WATER_BYTES:
            self._pressed = False
            self._on_pressure(False)

    def _take_off(self, sent: int) -> None:
        self._backlog_bytes -= sent
        while self._backlog and sent >= len(self._backlog[0]):
            sent -= len(self._backlog.popleft())
        if sent:
            self._backlog[0] = self._backlog[0][sent:]

    def pause(self) -> None:
        """Stop reading; Chrome keeps its messages until :meth:`resume`."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._events)

    def resume(self) -> None:
        """Continue to read."""
        if not self._reading and not self._closed:
            self._reading = True
            self._loop.add_reader(self._events, self._read)

    def _read(self) -> None:
        # Chrome writes its messages one by one. On a busy machine it can write more of them before
        # this read, so that fewer reads are needed; on an idle one the call costs nothing.
        os.sched_yield()
        try:
            count = os.readv(self._events, _buffers)
        except BlockingIOError:
            return
        if not count:
            self._end()
            return
        self.read_at = time.perf_counter()
        try:
            messages = self._splitter.feed(_view[:count].tobytes())
        except ChromepoolError as error:
            self._end(str(error))
            return
        self.read_messages += len(messages)
        self.read_bytes += count
        for message in messages:
            if not self._closed:  # an earlier message may have led to that
                self._on_message(message)
        self._on_pause()

    def drop_callbacks(self) -> None:
        """Break the reference cycles through the callbacks, after :meth:`close`."""
        self._on_message = lambda message: None
        self._on_pressure = lambda pressed: None
        self._on_end = lambda why: None
        self._on_pause = lambda: None

    def _end(self, why: str = "") -> None:
        if not self._closed:
            self.close()
            self._on_end(why)

    def close(self) -> None:
        """Close both descriptors. Chrome keeps running: the supervisor has duplicates."""
        if self._closed:
            return
        self.pause()
        self._closed = True
        self._loop.remove_writer(self._commands)
        self._backlog.clear()
        self._backlog_bytes = 0
        os.close(self._commands)
        os.close(self._events)
