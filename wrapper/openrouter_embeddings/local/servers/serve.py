"""The stand-in as a server on a socket."""

import asyncio
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.models import with_aliases
from openrouter_embeddings.local.servers.asgi import PREFIX, make_app
from openrouter_embeddings.local.servers.faulty import FaultyServer


def serve(
    host: str, port: int, faults: Faults | None = None, aliases: Mapping[str, str] | None = None
) -> None:
    """Serve until interrupted; print the URL and the key for clients once they can connect.

    With faults, print at the end how many requests were refused and billed. `aliases` are those of
    `make_app`. Raises OSError if the address is in use.
    """
    uvicorn = need("uvicorn", "local")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        port = listener.getsockname()[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address to connect to
        shown = f"[{host}]" if ":" in host else host
        print(f"export OPENROUTER_BASE_URL=http://{shown}:{port}{PREFIX}")
        print("export OPENROUTER_API_KEY=local", flush=True)
        if faults is not None:
            faults.models = with_aliases(aliases or {})
            _serve_faults(faults, listener)
            return
        server = uvicorn.Server(uvicorn.Config(make_app(aliases), log_level="warning"))
        server.run(sockets=[listener])


def _serve_faults(faults: Faults, listener: socket.socket) -> None:
    async def until_terminated() -> None:
        serving = asyncio.ensure_future(FaultyServer(faults).serve(listener))
        with suppress(NotImplementedError):  # Windows has no signal handlers for event loops
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        await asyncio.wait([serving])

    try:
        asyncio.run(until_terminated())
    finally:
        refused = ", ".join(f"{n} × {status}" for status, n in sorted(faults.refused.items()))
        inputs = sum(len(bill.inputs) for bill in faults.billed)
        print(f"{faults.requests} requests arrived; errors: {refused or 'none'}")
        print(
            f"{len(faults.billed)} requests with {inputs} inputs were billed, "
            f"{faults.billed_twice()} inputs more than once",
            flush=True,
        )
