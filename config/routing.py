"""The WebSocket's path, and which consumer answers which request type."""

from __future__ import annotations

from django.urls import path

from groups.consumers import GroupsConsumer
from messaging.consumers import MessagingConsumer
from messaging.gateway.consumers import SessionConsumer
from messaging.gateway.serving import ChatConsumer
from messaging.protocol.registry import routes
from presence.consumers import PresenceConsumer

ROUTES = routes(SessionConsumer(), MessagingConsumer(), GroupsConsumer(), PresenceConsumer())

_endpoint = ChatConsumer.as_asgi(routes=ROUTES)
websocket_urlpatterns = [path("ws/", _endpoint), path("ws", _endpoint)]
