"""Wiring of the messaging app."""

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    """Direct messages and everything that both kinds of conversation share."""

    name = "messaging"
    verbose_name = "Messaging"
