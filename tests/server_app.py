"""A small ASGI application in the real server, for tests of the server alone: `python -m tests.server_app`.

The path of a connection says what it does, so that tests of different matters can share one server.
"""

import argparse
import asyncio
from typing import Any

from config.listening import bind
from config.server import Options, run
from messaging.gateway.lifecycle import is_draining, on_stop
from messaging.gateway.transport import EXTENSION, Transport


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer HTTP with "ready" or "draining"; echo what WebSockets send."""
    if scope["type"] == "http":
        await answer(send)
        return
    await receive()
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
    await echo(scope["extensions"][EXTENSION], receive, send)


async def answer(send: Any) -> None:
    """The reply to every HTTP request."""
    body = b"draining" if is_draining() else b"ready"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def echo(transport: Transport, receive: Any, send: Any) -> None:
    """Send back every frame; say goodbye when the server stops."""
    while True:
        event = await receive()
        match event["type"]:
            case "websocket.receive" if "frame" in event:
                transport.write([event["frame"]])
            case "websocket.receive":
                await send({"type": "websocket.send", "bytes": event["bytes"]})
            case "chat.stopping":
                transport.write([b"goodbye"])
                transport.close(1012)
            case "websocket.disconnect":
                return


async def say_flushed() -> None:
    """What a part of the service does last."""
    await asyncio.sleep(0)
    print("flushed", flush=True)  # noqa: T201  the test reads it


def main() -> None:
    """Serve on a free port of this machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-payload-size", type=int, default=1_048_576)
    parser.add_argument("--keep-alive-timeout", type=float, default=60)
    options = parser.parse_args()
    on_stop(say_flushed)
    run(application, bind("127.0.0.1", 0), Options(options.max_payload_size, options.keep_alive_timeout))


if __name__ == "__main__":
    main()
