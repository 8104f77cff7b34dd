"""The stand-in on a socket: with faults in a thread of this process, or as `orembed serve`."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from openrouter_embeddings.local.servers.faulty import FaultyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openrouter_embeddings.local.faults import Faults


@contextmanager
def served(faults: Faults) -> Iterator[str]:
    """The base URL of the stand-in with faults, which a thread of this process serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        serving = runner.get_loop().create_task(FaultyServer(faults).serve(listener))

        def serve() -> None:
            with runner, suppress(asyncio.CancelledError):
                runner.get_loop().run_until_complete(serving)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            runner.get_loop().call_soon_threadsafe(serving.cancel)
            thread.join()


@contextmanager
def orembed_serve(*options: str) -> Iterator[tuple[str, list[str]]]:
    """The base URL of `orembed serve` in a process of its own, and a list for its output.

    The list gets the rest of standard output, and standard error, when the server has ended.
    """
    command = [sys.executable, "-m", "openrouter_embeddings.cli", "serve", "--port", "0", *options]
    output: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("the server has no pipes")
        printed = process.stdout.readline() + process.stdout.readline()
        found = re.fullmatch(
            r"export OPENROUTER_BASE_URL=(http://127\.0\.0\.1:\d+/api/v1)\n"
            r"export OPENROUTER_API_KEY=local\n",
            printed,
        )
        if not found:
            raise RuntimeError(f"orembed serve printed {printed!r}\n{process.stderr.read()}")
        try:
            yield found[1], output
        finally:
            process.send_signal(signal.SIGINT)
            output += process.communicate(timeout=30)
            if process.returncode not in (0, 130):
                raise RuntimeError(f"orembed serve ended with status {process.returncode}")
