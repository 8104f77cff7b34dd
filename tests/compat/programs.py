"""The programs of docs/deployment.md, run as its readers run them."""

import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.compat.loopback import PATIENCE, ROOT, Service

PAGE = (ROOT / "docs" / "deployment.md").read_text()


def blocks(heading: str, language: str = "python") -> list[str]:
    """The code blocks of a language in a section of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def write(folder: Path, heading: str, more: str = "") -> None:
    """Write the module of a section, which begins with its name, and more code at its end."""
    (code,) = blocks(heading)
    (folder / code.split()[1]).write_text(code + more)


def command(heading: str, *more: object) -> list[str]:
    """The command of a section, from this environment, with more options."""
    (line,) = blocks(heading, "console")
    program, *words = shlex.split(line)
    return [str(Path(sys.executable).with_name(program)), *words, *map(str, more)]


@contextmanager
def running(
    arguments: list[str], folder: Path, service: Service, *, stop: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a folder. It has to end without an error after a signal."""
    log = folder / "log"
    environment = {**service.environment, "HOME": str(folder)}  # where gunicorn keeps a socket
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        yield process
        process.send_signal(stop)
        assert process.wait(PATIENCE) in (0, -stop), log.read_text()  # uvicorn raises it again
    finally:
        process.kill()
        process.wait()
        sys.stderr.write(log.read_text())  # pytest shows it if the test fails
    assert not re.search(r"Traceback|ERROR|CRITICAL", log.read_text())


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[Any]) -> None:
    """Wait for a condition about a program that tells nobody."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < ends, "it takes too long"
        time.sleep(0.1)


def connect(path: Path, process: subprocess.Popen[Any]) -> httpx.Client:
    """A browser for a server that listens on a Unix socket, when it does."""
    wait_until(path.exists, process)
    transport = httpx.HTTPTransport(uds=str(path), limits=httpx.Limits(max_connections=None))
    return httpx.Client(transport=transport, base_url="http://server", timeout=PATIENCE)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
