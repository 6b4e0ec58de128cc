"""Presence in Django admin: who is connected, from where and since when; nothing can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from messaging.admin import ReadOnly
from presence.models import Connection

if TYPE_CHECKING:
    ConnectionModelAdmin = admin.ModelAdmin[Connection]
else:
    ConnectionModelAdmin = admin.ModelAdmin


@admin.register(Connection)
class ConnectionAdmin(ReadOnly, ConnectionModelAdmin):
    """Open connections."""

    list_display = ("user", "address", "connected_at", "worker")
    list_select_related = ("user", "worker")
    list_per_page = 100
    search_fields = ("=address", "=client_id")
    fields = ("client_id", "user", "address", "connected_at", "worker")
