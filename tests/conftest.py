"""Fixtures of every test: no sleeping, no environment variables, no network but this machine."""

import asyncio
import inspect
import ipaddress
import os
import socket
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from openrouter_embeddings.testing import JumpingClock, embeddings_service, no_waiting  # noqa: F401 - a fixture

from stress.servers import orembed_serve
from tests.support import ROOT, run

# `make test` tries the same examples everywhere, so that everyone can reproduce a failure.
# `make contract` tries new examples each time. Neither fails because a machine is slow.
hypothesis.settings.register_profile(
    "new", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "same", hypothesis.settings.get_profile("new"), derandomize=True, database=None
)
hypothesis.settings.load_profile("new" if "CONTRACT_EXAMPLES" in os.environ else "same")

# The files that take longest, the longest first. Each runs in one process, see the Makefile.
SLOWEST = (
    "tools/test_update.py",
    "tools/test_class_names.py",
    "tools/test_generate.py",
    "contract/test_drift.py",
    "tools/test_made_up_editions.py",
    "jobs/test_run_command.py",
    "adapters/test_ray.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest files first, so that no process runs one of them alone at the end."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in an event loop of its own."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}

    async def in_time() -> None:
        async with asyncio.timeout(120):
            await test(**arguments)

    asyncio.run(in_time())
    return True


@pytest.fixture(autouse=True)
def clock() -> Iterator[JumpingClock]:
    """Waiting takes no time; the clock records how long the clients would have waited."""
    with no_waiting() as jumping:
        yield jumping


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own key, base URL and proxies from the environment."""
    for name in (
        "OPENROUTER_API_KEY",
        "OPENROUTER_BASE_URL",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that tries to reach another machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        over_ip = self.family in (socket.AF_INET, socket.AF_INET6)
        if over_ip and not ipaddress.ip_address(address[0]).is_loopback:
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def recorded() -> Iterator[Any]:
    """What the exporters of a program with OpenTelemetry get: `tests.tracing.Recorded`."""
    from tests.tracing import recording  # not above: most tests run without OpenTelemetry

    with recording() as recorded:
        yield recorded


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The base URL of `orembed serve`, as it prints it."""
    with orembed_serve() as (url, _):
        yield url


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the current sources."""
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target]
    run(*build)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python in an environment with only the wheel and the packages that the demo needs."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    pip += ["--disable-pip-version-check", "--no-deps"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements" / "demo.txt", cwd=folder)
    run(*pip, wheel, cwd=folder)
    return python
