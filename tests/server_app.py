"""A small ASGI application in the real server, for tests of the server alone: `python -m tests.server_app`.

The path of a connection says what it does, so that tests of different matters can share one server.
"""

import argparse
import asyncio
import logging
import os
import threading
import time
from typing import Any

from config.listening import adopt, bind
from config.server import Options, run
from messaging.gateway.lifecycle import is_draining, on_stop
from messaging.gateway.transport import EXTENSION, Transport

FLOOD_FRAME = 16_384  # bytes of each frame that /flood sends: its number, filled up


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Do what the path says, for HTTP and WebSocket."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    await receive()
    name, _, argument = scope["path"].strip("/").partition("/")
    if name == "refuse":
        await send({"type": "websocket.close"})
        return
    offered = scope["subprotocols"]
    if name == "late":
        await asyncio.sleep(float(argument))
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
    await PATHS.get(name, echo)(Socket(scope["extensions"][EXTENSION], receive, send, argument))


class Socket:
    """What the functions below need of their connection."""

    def __init__(self, transport: Transport, receive: Any, send: Any, argument: str) -> None:
        self.transport = transport
        self.receive = receive
        self.send = send
        self.argument = argument  # the second part of the path


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer "ready", "draining" or, at /slow/N, after N seconds, "slow"."""
    body = b"draining" if is_draining() else b"ready"
    if scope["path"].startswith("/slow/"):
        await asyncio.sleep(float(scope["path"].rpartition("/")[2]))
        body = b"slow"
    event = await receive()
    while event.get("more_body"):
        event = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def echo(socket: Socket) -> None:
    """Send back every frame; say goodbye when the server stops or hears nothing for too long."""
    while True:
        event = await socket.receive()
        match event["type"]:
            case "websocket.receive" if "frame" in event:
                socket.transport.write([event["frame"]])
            case "websocket.receive":
                await socket.send({"type": "websocket.send", "bytes": event["bytes"]})
            case "chat.stopping":
                socket.transport.write([b"goodbye"])
                socket.transport.close(1012)
            case "chat.silent":
                socket.transport.write([b"silent"])
                socket.transport.close(4408)
            case "websocket.disconnect":
                print(f"disconnected {event['code']}", flush=True)  # noqa: T201  tests read it
                return


async def close(socket: Socket) -> None:
    """At /close/CODE or /close/CODE/N: write N frames of 1 KiB, close with this code, and echo from then on."""
    code, _, count = socket.argument.partition("/")
    for number in range(int(count or 0)):
        socket.transport.write([b"%01024d" % number])
    socket.transport.close(int(code))
    socket.transport.write([b"too late"])
    await echo(socket)


async def flood(socket: Socket) -> None:
    """Send numbered frames for ever, as fast as the client reads."""
    writable = asyncio.Event()
    socket.transport.set_writable_callback(writable.set)
    stopping = asyncio.create_task(echo(socket))
    number = 0
    while not stopping.done():
        while socket.transport.is_writable:
            socket.transport.write([b"%0*d" % (FLOOD_FRAME, number)])
            number += 1
        writable.clear()
        await asyncio.wait([stopping, waiting := asyncio.create_task(writable.wait())], return_when="FIRST_COMPLETED")
        waiting.cancel()


async def deaf(socket: Socket) -> None:
    """Receive nothing until the file named by the environment exists, then count what comes."""
    while not os.path.exists(os.environ["HEAR"]):  # noqa: ASYNC110, ASYNC240, PTH110  a file has no event
        await asyncio.sleep(0.05)
    while (event := await socket.receive())["type"] != "websocket.disconnect":
        socket.transport.write([b"%d" % len(event.get("frame", b""))])


async def pause(socket: Socket) -> None:
    """At /pause/SECONDS: read nothing for so long, then echo."""
    socket.transport.pause_reading()
    socket.transport.write([b"paused"])
    await asyncio.sleep(float(socket.argument))
    socket.transport.resume_reading()
    await echo(socket)


async def leave(socket: Socket) -> None:
    """End without having closed the connection."""


async def fail(socket: Socket) -> None:
    """End with an error."""
    raise RuntimeError("the application fails on purpose")


async def ordinary(socket: Socket) -> None:
    """Send and close as any ASGI application does."""
    await socket.send({"type": "websocket.send", "text": "hello"})
    await socket.send({"type": "websocket.send", "text": ""})
    await socket.send({"type": "websocket.send", "bytes": b""})
    await socket.send({"type": "websocket.close", "code": 3001})


async def hang(socket: Socket) -> None:
    """Leave a thread behind that does not end, and echo."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    await echo(socket)


async def stuck(socket: Socket) -> None:
    """Take no notice of anything."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


PATHS = {
    "close": close,
    "flood": flood,
    "deaf": deaf,
    "pause": pause,
    "leave": leave,
    "fail": fail,
    "stuck": stuck,
    "ordinary": ordinary,
    "hang": hang,
}


async def say_flushed() -> None:
    """What a part of the service does last."""
    await asyncio.sleep(0)
    print("flushed", flush=True)  # noqa: T201  tests read it


async def fail_to_flush() -> None:
    """A part of the service that cannot do what it should."""
    raise RuntimeError("the flush fails on purpose")


def main() -> None:
    """Serve on a free port of this machine, or on an inherited socket."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-payload-size", type=int, default=1_048_576)
    parser.add_argument("--keep-alive-timeout", type=float, default=60)
    parser.add_argument("--max-body-size", type=int, default=2_621_440)
    parser.add_argument("--fd", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    options = vars(parser.parse_args())
    descriptor, host = options.pop("fd"), options.pop("host")
    logging.basicConfig(level=logging.INFO)
    on_stop(say_flushed)
    on_stop(fail_to_flush)
    run(application, bind(host, 0) if descriptor is None else adopt(descriptor), Options(**options))


if __name__ == "__main__":
    main()
