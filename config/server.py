"""The server: daphne with this service's limits, its keep-alive, its leaner frame path and a polite end.

One worker, echo of 100-byte frames, 50 connections, CPU of the server in µs a frame with 1 and with 8 frames in flight
on each (medians; each line adds to the one above):

    daphne, application with a receive loop of its own                             57    29
    the subclass: no eager log formatting, no event a message, own mailbox         41    20
    the short path for simple text frames (config.frames)                          29     7.4
    sending at once instead of when epoll says so (config.outgoing)                20    10.7
    one send for all writes of a turn of the loop                                  20     7.5

Leaving out Twisted's logging context around each read changes nothing beyond that.
"""

import asyncio
import logging
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from daphne.server import Server, twisted_loop  # before Twisted's reactor, which it installs
from django.conf import settings
from django.utils.module_loading import import_string
from twisted.internet import defer, reactor as installed_reactor
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogPublisher,
)

from config.access import log_action
from config.deflate import accept
from config.listening import address_of, adopt, bind
from config.mailbox import Mailbox
from config.outgoing import Turn
from config.requests import BoundedRequestFactory
from config.stopping import Stopping
from config.websocket import CLOSE_TIMEOUT, ChatProtocol
from messaging.gateway.transport import EXTENSION

reactor: Any = installed_reactor  # typed as a module, which it is not

_HANDSHAKE_TIMEOUT = 10  # seconds for the client's request and for the application's accept
_SLOWEST_SWEEP = 2.0  # seconds between two looks at who is silent
_FASTEST_SWEEP = 0.25


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator can set about the server."""

    max_payload_size: int = 1_048_576  # bytes of one frame and of one message
    keep_alive_timeout: float = 60  # seconds of silence after which a connection is closed
    max_body_size: int = 2_621_440  # bytes of the body of an HTTP request


class ChatServer(Server):  # type: ignore[misc]  # daphne has no types
    """daphne's server on a socket that is already listening."""

    def __init__(self, application: Any, listener: socket.socket, options: Options) -> None:
        super().__init__(
            application=application,
            endpoints=["a listening socket"],  # daphne wants at least one; ours is adopted in _ready
            signal_handlers=False,  # Stopping handles them
            action_logger=log_action,
            websocket_timeout=-1,
            websocket_connect_timeout=_HANDSHAKE_TIMEOUT,
            websocket_handshake_timeout=_HANDSHAKE_TIMEOUT,
            websocket_max_message_size=options.max_payload_size,
            websocket_max_frame_size=options.max_payload_size,
            ping_timeout=0,  # autobahn's own pings are off: see ChatProtocol.check_timeouts
            ready_callable=self._ready,
            server_name="",
        )
        self.endpoints: list[str] = []
        self.keep_alive_timeout = options.keep_alive_timeout
        self.max_body_size = options.max_body_size
        self._sweep_every = min(_SLOWEST_SWEEP, max(_FASTEST_SWEEP, options.keep_alive_timeout / 8))
        self._listener = listener
        self._ports: list[Any] = []  # Twisted's listening ports, while we listen
        self._stopping = Stopping(self, twisted_loop, reactor.stop)

    def _ready(self) -> None:
        """Set what daphne has no option for and listen; runs once the factories exist, just before the reactor does."""
        self.ws_factory.setProtocolOptions(
            allowNullOrigin=True,  # the gateway decides on origins; unset, this method would reset it
            failByDrop=False,  # 1002, 1007 and 1009 reach the client; with True it would see 1006
            echoCloseCodeReason=True,  # RFC 6455 section 5.5.1
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            perMessageCompressionAccept=accept,
        )
        self.ws_factory.protocol = ChatProtocol.for_factory(self.ws_factory, Turn(twisted_loop))
        self.http_factory = BoundedRequestFactory(self)
        _show_failures()
        port = reactor.adoptStreamPort(self._listener.fileno(), self._listener.family, self.http_factory)
        self._ports.append(port)
        reactor.callWhenRunning(self._announce)

    def _announce(self) -> None:
        self._stopping.listen_to_signals()
        print(f"Serving on {address_of(self._listener)}", flush=True)  # noqa: T201  for the operator and for scripts
        self._listener.close()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application of a connection or request; what it has to receive goes into the queue returned."""
        if not isinstance(protocol, ChatProtocol):
            return super().create_application(protocol, scope)
        mailbox = Mailbox(protocol.mailbox_has_room)
        scope["asgi"] = {"version": "3.0"}
        scope["extensions"] = {EXTENSION: protocol}
        application = self.application(scope, mailbox.receive, partial(self.handle_reply, protocol))
        task = twisted_loop.create_task(application)
        task.add_done_callback(protocol.application_ended)
        self.connections[protocol]["application_instance"] = task
        return mailbox

    def timeout_checker(self) -> None:
        """Look at who is silent, often enough for short keep-alive times."""
        for protocol in list(self.connections):
            protocol.check_timeouts()
        reactor.callLater(self._sweep_every, self.timeout_checker)

    def open_connections(self) -> Iterator[ChatProtocol]:
        """The WebSocket connections that have not ended."""
        for protocol, details in self.connections.items():
            if isinstance(protocol, ChatProtocol) and "disconnected" not in details:
                yield protocol

    def is_busy(self) -> bool:
        """Whether any connection is open or any request unanswered."""
        return any(True for _ in chain(self.open_connections(), self._unfinished()))

    def _unfinished(self) -> Iterator[asyncio.Task[None]]:
        for details in self.connections.values():
            task = details.get("application_instance")
            if task is not None and not task.done():
                yield task

    def stop_listening(self) -> None:
        """Take no new connections."""
        while self._ports:
            self._ports.pop().stopListening()

    def kill_all_applications(self) -> Any:
        """Cancel what is left just before the reactor stops; daphne's own fails when one has already been reaped."""
        unfinished = list(self._unfinished())
        if not unfinished:
            return defer.succeed(None)
        for task in unfinished:
            task.cancel()
        return defer.Deferred.fromFuture(asyncio.ensure_future(asyncio.wait(unfinished, timeout=0.3)))


def run(application: Any, listener: socket.socket, options: Options) -> None:
    """Serve until a signal says stop; if that cannot be done politely in time, the process ends with exit code 1."""
    _allow_many_connections()
    logging.getLogger("daphne.server").setLevel(logging.WARNING)  # else it says at each start that HTTP/2 is off
    server = ChatServer(application, listener, options)
    server.run()
    if server.abort_start:
        sys.exit(1)


def serve(*, host: str, port: int, descriptor: int | None = None) -> None:
    """Serve this project on an address, or on an inherited listening socket, until a signal says stop.

    Raises:
        CannotListenError: the address cannot be had; the text is a sentence for the operator.
    """
    listener = bind(host, port) if descriptor is None else adopt(descriptor)
    options = Options(
        max_payload_size=settings.MAX_PAYLOAD_SIZE,
        keep_alive_timeout=settings.KEEP_ALIVE_TIMEOUT,
        max_body_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    )
    run(import_string(settings.ASGI_APPLICATION), listener, options)


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows: the usual 1,024 would also limit the connections."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))


def _show_failures() -> None:
    """Log the errors that Twisted has caught: daphne throws its log away, and nobody would hear of them."""
    observer: Any = STDLibLogObserver("twisted")  # Any: what zope's interfaces promise, the type checker cannot see
    is_failure: Any = LogLevelFilterPredicate(defaultLogLevel=LogLevel.critical)
    only_failures: Any = FilteringLogObserver(observer, [is_failure])
    globalLogPublisher.addObserver(only_failures)
