"""vcrpy and pytest-recording: requests are recorded once and answered from a file afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import vcr  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.testing import no_waiting

from tests.compat.mocks.service import KEY, LoopbackService, check_own_connections, embed
from tests.compat.rows import Row

ROW = Row("vcrpy", how='`filter_headers=["authorization"]`, or the file holds your key')
RECORDING = Row("pytest-recording", how="the same, in the fixture `vcr_config`")


@pytest.mark.parametrize(
    "kind", [pytest.param("sync", marks=ROW.sync), pytest.param("async", marks=ROW.asynchronous)]
)
@pytest.mark.parametrize("filtered", [True, False])
def test_a_cassette_is_recorded_and_replayed(kind: str, tmp_path: Path, *, filtered: bool) -> None:
    """429 and 200 are recorded, with the headers; the second time there is no service."""
    cassette = tmp_path / "cassette.yaml"
    recorder = vcr.VCR(filter_headers=["authorization", "x-my-gateway"] if filtered else [])
    password = {"X-My-Gateway": "gateway-password"}
    with no_waiting():
        with LoopbackService(429) as service, recorder.use_cassette(str(cassette)):
            (recorded,) = embed(kind, service.url, ["a", "bb"], headers=password)
        assert len(service.texts) == 2
        with recorder.use_cassette(str(cassette), record_mode="none") as tape:
            (replayed,) = embed(kind, service.url, ["a", "bb"])
        assert tape.play_count == 2
    assert recorded.usage.retries == replayed.usage.retries == 1
    for secret in (KEY, *password.values()):  # docs/testing.md warns of both
        assert (secret in cassette.read_text()) is not filtered
    check_own_connections(kind)


CODE = """
import os
import pytest
from tests.compat.mocks.service import embed

@pytest.fixture
def vcr_config():
    return {"filter_headers": ["authorization"]}

@pytest.mark.vcr
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_embed(kind):
    embed(kind, os.environ["SERVICE"], ["a", "bb"])
"""


@RECORDING.sync
@RECORDING.asynchronous
def test_pytest_recording_replays_what_it_has_recorded(tmp_path: Path) -> None:
    """The file does not hold the key."""
    test = tmp_path / "test_recorded.py"
    test.write_text(CODE)
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, str(test)]

    def run(*options: str) -> None:
        environment = {**os.environ, "SERVICE": service.url}
        subprocess.run([*command, *options], env=environment, check=True, timeout=60)

    with LoopbackService() as service:
        run("--record-mode=once")
    assert service.texts == [["a", "bb"]] * 2
    run("--block-network")
    cassettes = [path.read_text() for path in tmp_path.rglob("*.yaml")]
    assert len(cassettes) == 2
    assert not any(KEY in cassette for cassette in cassettes)
