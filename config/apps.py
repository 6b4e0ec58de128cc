"""The wiring as a Django app, so that its system checks are found."""

from django.apps import AppConfig


class ServiceConfig(AppConfig):
    """Registers the checks of the operator's settings."""

    name = "config"
    verbose_name = "Service"

    def ready(self) -> None:
        """Register the system checks once all apps are loaded."""
        from config import checks  # noqa: F401, PLC0415  importing registers them; checks need loaded apps
