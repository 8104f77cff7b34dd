"""The clock of both clients."""

import asyncio
import threading
import time
from typing import Protocol


class Event(Protocol):
    """An `asyncio.Event`, or what can be awaited like one."""

    async def wait(self) -> object:
        """Wait until the event is set."""


class Clock:
    """The time, and waiting. Tests replace it."""

    def now(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait until the event is set or the time has passed."""
        event.wait(seconds)

    async def wait_async(self, event: Event, seconds: float) -> None:
        """The same for asyncio."""
        await wait(event, seconds)


clock: Clock = Clock()


async def wait(event: Event, seconds: float) -> None:
    """Wait until the event is set or the time has passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
