"""The clock of both clients."""

import asyncio
import math
import threading
import time


class Clock:
    """The time, and waiting. Tests replace it."""

    def now(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait until the event is set or the time has passed."""
        event.wait(seconds)

    async def wait_async(self, event: asyncio.Event, seconds: float) -> None:
        """The same for asyncio."""
        await wait(event, seconds)


clock: Clock = Clock()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set or the time, which may be infinite, has passed."""
    try:
        async with asyncio.timeout(seconds if math.isfinite(seconds) else None):
            await event.wait()
    except TimeoutError:
        pass
