"""Wiring of the presence app."""

from django.apps import AppConfig


class PresenceConfig(AppConfig):
    """Who is online, across all workers."""

    name = "presence"
    verbose_name = "Presence"
