"""The stand-in as a server on a socket."""

from __future__ import annotations

import socket

from openrouter_embeddings._extras import need

from .asgi import PREFIX, make_app


def serve(host: str, port: int) -> None:
    """Serve until interrupted; prints what a client needs as soon as it can connect.

    Raises OSError where the address cannot be had.
    """
    uvicorn = need("uvicorn", "local")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        port = listener.getsockname()[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - as a client says it
        shown = f"[{host}]" if ":" in host else host
        print(f"export OPENROUTER_BASE_URL=http://{shown}:{port}{PREFIX}")
        print("export OPENROUTER_API_KEY=local", flush=True)
        server = uvicorn.Server(uvicorn.Config(make_app(), log_level="warning"))
        server.run(sockets=[listener])
