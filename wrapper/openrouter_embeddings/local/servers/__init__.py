"""Ways in to the stand-in: an httpx transport in this process, an ASGI app, and a server."""
