"""Runs scripts whose hooks are coroutines: async def on_mail(id, address).

Loaded by filter.py if a script has such a hook. Hooks of one session run one
after the other: while one awaits, later lines of its session wait, and those of
all others do not. So a coroutine's answer is always for its own question.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import os
import threading
from typing import Any, Awaitable, Callable, Optional

import filter

MAX_WAITING = 10_000
"""Lines of all sessions that may wait for coroutines; then nothing more is read."""

GRACE = 2.0
"""Seconds that coroutines have left when the server has ended."""


class AsyncBridge(filter.Bridge):
    """A Bridge in an event loop. feed must be called by the loop's thread."""

    def __init__(self, hooks: dict[str, Callable[..., Any]], write: Callable[[bytes], object]) -> None:
        super().__init__(hooks, write)
        for name, hook in list(self.hooks.items()):
            if name != "on_message":        # our own on_eom gives what it returns
                self.hooks[name] = functools.partial(self._call, name, hook)
        self._started: Optional[Awaitable[Any]] = None  # what the hook that was just called returned
        self._busy: dict[bytes, collections.deque[bytes]] = {}  # sessions that await, and their lines
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved: Optional[asyncio.Event] = None     # a coroutine ended; belongs to the loop
        self._failure: Optional[BaseException] = None

    def _call(self, name: str, hook: Callable[..., Any], number: int, *args: Any) -> None:
        result = hook(number, *args)
        if inspect.isawaitable(result):
            self._started = result
            if name in filter._EVENTS.values() and number in self.sessions:
                self.sessions[number].gone = True   # in an event an answer means nothing

    def _lines(self, lines: list[bytes]) -> None:
        for line in lines:
            fields = line.split(b"|", 6) if self._ready else ()
            key = fields[5] if len(fields) > 5 else b""
            queue = self._busy.get(key)
            if queue is not None:
                queue.append(line)
                self._waiting += 1
                continue
            self._line(line)
            started, self._started = self._started, None
            if started is not None:
                self._busy[key] = collections.deque()
                task = asyncio.get_running_loop().create_task(self._follow(key, started))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _follow(self, key: bytes, started: Optional[Awaitable[Any]]) -> None:
        # Await a session's coroutine, then take the lines that came meanwhile.
        queue = self._busy[key]
        try:
            while started is not None or queue:
                if started is not None:
                    await started
                    started = None
                if queue:
                    self._waiting -= 1
                    self._line(queue.popleft())
                    started, self._started = self._started, None
        except BaseException as err:
            self._failure = self._failure or err
        finally:
            del self._busy[key]
            if self._moved is not None:
                self._moved.set()

    async def room(self) -> None:
        """Wait until more may be fed; raise what a hook raised."""
        while self._failure is None and self._waiting > MAX_WAITING:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
        self._raise()

    async def idle(self) -> None:
        """Wait until no coroutine runs; raise what a hook raised. For tests."""
        while self._failure is None and self._tasks:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
        self._raise()

    def _raise(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def serve(self, source: int) -> None:
        """Serve until source ends."""
        asyncio.run(self._serve(source))

    async def _serve(self, source: int) -> None:
        loop = asyncio.get_running_loop()
        self._moved = moved = asyncio.Event()
        ended = False

        async def take(chunk: bytes) -> None:
            nonlocal ended
            if chunk and self._failure is None:
                self.feed(chunk)
                await self.room()
            ended = ended or not chunk
            moved.set()

        def read() -> None:     # in a thread: input may be a file, which no loop can watch
            try:
                chunk = b"x"
                while chunk:
                    chunk = os.read(source, filter.READ_SIZE)
                    asyncio.run_coroutine_threadsafe(take(chunk), loop).result()
            except BaseException as err:
                self._failure = self._failure or err
                loop.call_soon_threadsafe(moved.set)

        threading.Thread(target=read, daemon=True).start()
        while not ended and self._failure is None:
            moved.clear()
            await moved.wait()
        if self._failure is None and self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GRACE)
        self._raise()
