"""The stand-in as a server on a socket."""

from __future__ import annotations

from openrouter_embeddings._extras import need

from .asgi import PREFIX, make_app


def serve(host: str, port: int) -> None:
    """Serve until interrupted; prints what a client needs once the socket is open."""
    uvicorn = need("uvicorn", "local")
    config = uvicorn.Config(make_app(), host=host, port=port, log_level="warning")

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        async def startup(self, sockets: object = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                at = self.servers[0].sockets[0].getsockname()
                shown = f"[{at[0]}]" if ":" in at[0] else at[0]
                print(f"export OPENROUTER_BASE_URL=http://{shown}:{at[1]}{PREFIX}")
                print("export OPENROUTER_API_KEY=local", flush=True)

    Server(config).run()
