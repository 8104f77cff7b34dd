"""The stand-in on a socket with faults, also those below HTTP: resets, stalls, drips."""

import asyncio
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11

from openrouter_embeddings.local.fault_kinds import FaultedReply
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.model_list import list_models
from openrouter_embeddings.local.reply import LocalReply, Refusal
from openrouter_embeddings.local.respond import MAX_BODY, error_reply
from openrouter_embeddings.local.servers.asgi import PATHS

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class FaultyServer:
    """An HTTP server that plays faults, until it is cancelled.

    uvicorn only sends correct HTTP, so this server writes its own bytes. h11 reads the requests.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Answer requests on a listening socket; at the end, close the connections still open."""
        server = await asyncio.start_server(self._connection, sock=listener, limit=1 << 20)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()  # from Python 3.12 on, `serve_forever` waits for every client to leave
            for writer in self._open:
                writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        self._open.add(writer)
        with suppress(ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            while (request := await self._request(connection, reader, writer)) is not None:
                faulted = await self._play(*request)
                if not await self._deliver(faulted, writer):
                    break
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
        self._open.discard(writer)
        writer.close()

    async def _request(
        self, connection: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, str, dict[str, str], bytes] | None:
        """Method, target, headers and body of the next request; None at the connection's end."""
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
                if len(body) <= MAX_BODY:  # read on, so that the client gets the 413
                    body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                # h11 insists on sending an answer; `_deliver` sends the real one past it
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                return head.method.decode(), head.target.decode(), headers, bytes(body)
            else:
                return None

    async def _play(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> FaultedReply:
        path, _, query = target.partition("?")
        if method != PATHS.get(path):
            status = HTTPStatus.METHOD_NOT_ALLOWED if path in PATHS else HTTPStatus.NOT_FOUND
            refusal = Refusal(status.value, status.phrase)
            return FaultedReply(error_reply(refusal, self._faults.contract))
        if method == "GET":
            return FaultedReply(list_models(self._faults.models, path, query))
        return await asyncio.to_thread(self._faults.play, body, headers, time.monotonic())

    async def _deliver(self, faulted: FaultedReply, writer: asyncio.StreamWriter) -> bool:
        """Send a reply step by step; False if the connection ends with it."""
        unsent = bytearray()
        for step in faulted.steps or ("head", faulted.reply.body):
            if step == "head":
                unsent += _head(faulted.reply)
            elif isinstance(step, bytes):
                unsent += step
            else:
                writer.write(unsent)
                await writer.drain()
                unsent = bytearray()
                if step == "reset":
                    connection = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    writer.transport.abort()
                if isinstance(step, str):
                    return False
                await asyncio.sleep(step)
        writer.write(unsent)
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
