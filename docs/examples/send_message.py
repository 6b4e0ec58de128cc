"""Sends one message from a terminal, and shows how it reaches the other person.

    .venv/bin/python docs/examples/send_message.py --as ann --to bob "Hello"

It uses nothing of the server but its HTTP and WebSocket interfaces. The password of the demo users is the DEMO_PASSWORD
of the environment or of the file .env, as bin/run wrote it.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

_ENV_FILE = Path(__file__).parent.parent.parent / ".env"


def setting(name: str, default: str) -> str:
    """A variable of the environment or of .env."""
    lines = _ENV_FILE.read_text().splitlines() if _ENV_FILE.exists() else []
    written = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return os.environ.get(name) or written.get(name, default)


def log_in(url: str, username: str, password: str) -> str:
    """Exchange a user's name and password for an access token."""
    request = urllib.request.Request(
        f"{url}/api/token/",
        data=json.dumps({"username": username, "password": password}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(json.load(response)["access"])
    except urllib.error.HTTPError as error:
        sys.exit(f"{username} cannot log in at {url}: {error.code} {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"No server answers at {url} ({error.reason}): start it with bin/run.")


def user_id_of(token: str) -> str:
    """The id of a token's user, as it stands in the claim `sub`."""
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])


async def ask(socket: ClientConnection, request: str, **fields: Any) -> dict[str, Any]:
    """Send a request and return the frame that answers it; events that arrive meanwhile are dropped here."""
    request_id = uuid.uuid4().hex
    await socket.send(json.dumps({"type": request, "requestId": request_id, **fields}))
    return await receive(socket, requestId=request_id)


async def receive(socket: ClientConnection, **wanted: str) -> dict[str, Any]:
    """Wait for the first frame that has these values."""
    async with asyncio.timeout(10):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            if wanted.items() <= frame.items():
                return frame


async def send(url: str, sender: str, recipient: str, content: str) -> None:
    """Send a message from the owner of one token to that of another, who is listening."""
    socket_url = url.replace("http", "ws", 1) + "/ws/"
    async with connect(socket_url) as sending, connect(socket_url) as listening:
        for socket, token in ((listening, recipient), (sending, sender)):
            answer = await ask(socket, "connect", token=token)
            if answer["type"] != "auth_success":
                sys.exit(json.dumps(answer, indent=2))
        # A client message id makes it safe to send again after a connection broke: it counts once.
        reply = await ask(
            sending,
            "send_message",
            recipientId=user_id_of(recipient),
            content=content,
            clientMessageId=uuid.uuid4().hex,
        )
        print("The server replied:", json.dumps(reply, indent=2, ensure_ascii=False))
        if reply["type"] == "error":
            sys.exit(1)
        event = await receive(listening, type="new_message")
        while event["message"]["messageId"] != reply["message"]["messageId"]:  # earlier ones that waited
            event = await receive(listening, type="new_message")
        print("The other person received:", event["message"]["content"])


def main() -> None:
    """Parse the command line, log both people in, send."""
    parser = argparse.ArgumentParser(description="Send one message between two demo users.")
    parser.add_argument("--url", default=f"http://127.0.0.1:{setting('PORT', '8000')}", help="the server (%(default)s)")
    parser.add_argument("--as", dest="sender", default="ann", help="user name of the sender (%(default)s)")
    parser.add_argument("--to", dest="recipient", default="bob", help="user name of the recipient (%(default)s)")
    parser.add_argument("--password", default=setting("DEMO_PASSWORD", ""), help="of both; by default DEMO_PASSWORD")
    parser.add_argument("content", help="the message")
    options = parser.parse_args()
    url = options.url.rstrip("/")
    sender, recipient = (log_in(url, name, options.password) for name in (options.sender, options.recipient))
    asyncio.run(send(url, sender, recipient, options.content))


if __name__ == "__main__":
    main()
