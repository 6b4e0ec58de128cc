"""The socket that the server listens on."""

import errno
import os
import socket

_BACKLOG = 2048  # connections that the kernel completes while the loop is busy; it cuts this down to its own limit

_REASONS = {
    errno.EADDRINUSE: "Port {port} on {host} is in use by another program: choose another one with --port.",
    errno.EACCES: "This user may not listen on port {port}: choose one above 1023 with --port.",
    errno.EADDRNOTAVAIL: "{host} is no address of this machine: choose another one with --host.",
}


class CannotListenError(OSError):
    """The address is taken, forbidden or unknown; the text is a sentence for the operator."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on this address; port 0 takes any free one.

    Raises:
        CannotListenError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CannotListenError(f"{host} is no address of this machine: choose another one with --host.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections that linger after a restart must not block the new process (TIME_WAIT).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = _REASONS.get(error.errno or 0, "{host}:{port} cannot be listened on ({error}).")
        raise CannotListenError(reason.format(host=host, port=port, error=os.strerror(error.errno or 0))) from error
    listener.setblocking(False)
    return listener


def adopt(descriptor: int) -> socket.socket:
    """The listening socket that a parent process has left open under this file descriptor.

    Raises:
        CannotListenError: there is no listening socket.
    """
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListenError(f"File descriptor {descriptor} is no socket.") from error
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()  # not ours to close
        raise CannotListenError(f"File descriptor {descriptor} is a socket that does not listen.")
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of this listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
