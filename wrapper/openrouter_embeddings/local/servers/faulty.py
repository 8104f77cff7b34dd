"""The stand-in on a socket, with faults that reach below HTTP: resets, stalls, drips."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.catalogue import list_models
from openrouter_embeddings.local.faults import FaultedReply, Faults
from openrouter_embeddings.local.reply import LocalReply, Refusal
from openrouter_embeddings.local.respond import MAX_BODY, error_reply
from openrouter_embeddings.local.servers.asgi import PATHS

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class FaultyServer:
    """Serves on a listening socket until cancelled.

    uvicorn speaks correct HTTP only, so this one writes what it likes; h11, which reads the
    requests, comes with it.
    """

    def __init__(self, faults: Faults) -> None:
        self._h11 = need("h11", "local")
        self._faults = faults
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Answer connections; in the end, close those that clients keep open."""
        server = await asyncio.start_server(self._connection, sock=listener, limit=1 << 20)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()  # from Python 3.12 on, `serve_forever` waits for every client to leave
            for writer in self._open:
                writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h11 = self._h11
        connection = h11.Connection(h11.SERVER)
        self._open.add(writer)
        with suppress(ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            while (request := await self._request(connection, reader, writer)) is not None:
                played = await self._play(*request)
                if not await self._deliver(played, writer):
                    break
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
        self._open.discard(writer)
        writer.close()

    async def _request(
        self, connection: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, str, dict[str, str], bytes] | None:
        """Method, target, headers and body of the next request; None when there is no more."""
        h11 = self._h11
        head, body = None, bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                connection.receive_data(await reader.read(1 << 16))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data if len(body) <= MAX_BODY else b""  # so that the client hears it
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                # h11 wants to have sent an answer before the next request; ours goes by itself
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                return head.method.decode(), head.target.decode(), headers, bytes(body)
            else:
                return None

    async def _play(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> FaultedReply:
        path, _, query = target.partition("?")
        if path not in PATHS:
            return FaultedReply(error_reply(Refusal(404, "Not Found"), self._faults.contract))
        if method != PATHS[path]:
            return FaultedReply(
                error_reply(Refusal(405, "Method Not Allowed"), self._faults.contract)
            )
        if method == "GET":
            return FaultedReply(list_models(self._faults.models, path, query))
        return await asyncio.to_thread(self._faults.play, body, headers, time.monotonic())

    async def _deliver(self, played: FaultedReply, writer: asyncio.StreamWriter) -> bool:
        """Send a reply the way it shall travel; False where the connection ends with it."""
        head, body = _head(played.reply), played.reply.body
        match played.delivery:
            case None:
                writer.write(head + body)
            case "slow-headers":
                await asyncio.sleep(played.seconds)
                writer.write(head + body)
            case "drip":
                writer.write(head)
                for at in range(len(body)):
                    writer.write(body[at : at + 1])
                    await writer.drain()
                    await asyncio.sleep(played.seconds / len(body))
            case "stall":
                writer.write(head + body[: len(body) // 2])
                await writer.drain()
                await asyncio.sleep(played.seconds)
                writer.write(body[len(body) // 2 :])
            case "accept-and-close":
                return False
            case how:
                sent = {"reset-after-headers": head, "reset-mid-body": head + body[:-9]}
                writer.write(sent.get(how, b""))
                await writer.drain()
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
                writer.transport.abort()
                return False
        await writer.drain()
        return True


def _head(reply: LocalReply) -> bytes:
    phrase = HTTPStatus(reply.status).phrase if reply.status in set(HTTPStatus) else "Status"
    headers = {
        "Content-Type": "application/json",
        **reply.headers,
        "Content-Length": str(len(reply.body)),
    }
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
