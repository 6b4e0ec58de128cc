"""Wiring of the messaging app."""

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    """Direct messages and everything that both kinds of conversation share."""

    name = "messaging"
    verbose_name = "Messaging"

    def ready(self) -> None:
        """Listen to the changes of users once all apps are loaded."""
        from messaging.services import users  # noqa: PLC0415  it imports the user model

        users.connect()
