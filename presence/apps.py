"""Wiring of the presence app."""

from django.apps import AppConfig


class PresenceConfig(AppConfig):
    """Who is online, across all workers."""

    name = "presence"
    verbose_name = "Presence"

    def ready(self) -> None:
        """Have workers keep presence, and tell messaging who is online, once all apps are loaded."""
        from messaging.delivery.online import register_online  # noqa: PLC0415  it imports models
        from messaging.gateway.presence import register_tracker  # noqa: PLC0415  the same
        from presence.services import online_among  # noqa: PLC0415  the same
        from presence.tracking import PresenceTracker  # noqa: PLC0415  the same

        register_online(online_among)
        register_tracker(PresenceTracker)
