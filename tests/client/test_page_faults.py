"""A warmed client needs no fresh memory for a response, but that of the matrix."""

import json
import sys
from typing import Any

import openrouter_embeddings as ore
import pytest
import trustme

from tests.socket_service import SocketService, http_response, socket_service
from tests.support import ended, every

ROWS, WIDTH, CALLS = 64, 1536, 20
_MATRIX_FAULTS = WIDTH * 4 / 4096  # per vector
_CLIENT = f"""
import asyncio, resource, sys
import openrouter_embeddings as ore, uvloop
kind, way, url = sys.argv[1:]
inputs = ["a"] * {ROWS}
make = ore.Client if kind == "sync" else ore.AsyncClient
client = make("k", base_url=url, model="m", batch_size={ROWS})

async def collect():
    if way == "embed":
        return [(await client.embed(inputs)).vectors]
    return [part.vectors async for part in client.embed_stream(inputs)]

def embed():
    if kind != "sync":
        return loop.run_until_complete(collect())
    if way == "embed":
        return [client.embed(inputs).vectors]
    return [part.vectors for part in client.embed_stream(inputs)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
kept = [embed() for _ in range({CALLS})]
before = faults()
kept += [embed() for _ in range({CALLS})]
print((faults() - before) / {ROWS * CALLS})
"""


def serve_forever(_: SocketService, connection: Any) -> None:
    """Answer each request with the same vectors."""
    vector = ore.encode_base64([0.5] * WIDTH)
    data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(ROWS)]
    body = json.dumps({"data": data, "model": "m"}).encode()
    response = http_response(200, body)
    request = b""
    while chunk := connection.recv(1 << 16):
        request += chunk
        if request.endswith(b"}"):
            request = b""
            connection.sendall(response)


@every
@pytest.mark.parametrize("way", ["embed", "stream"])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.usefixtures("trusted")
def test_a_warmed_client_touches_little_fresh_memory(
    kind: str, way: str, authority: trustme.CA, *, secure: bool
) -> None:
    """At most two page faults per vector of 1536 values beside the 1.5 of the matrix itself."""
    with socket_service(serve_forever, authority if secure else None) as service:
        done = ended(sys.executable, "-c", _CLIENT, kind, way, service.url)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2 + _MATRIX_FAULTS
