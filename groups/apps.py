"""Wiring of the groups app."""

from django.apps import AppConfig


class GroupsConfig(AppConfig):
    """Groups and communities."""

    name = "groups"
    verbose_name = "Groups"

    def ready(self) -> None:
        """Describe groups to messaging, and listen to the deletion of users, once all apps are loaded."""
        from groups.services import users, views  # noqa: PLC0415  they import models
        from messaging.services.guests import register_group_views  # noqa: PLC0415  the same

        register_group_views(views.group_views)
        users.connect()
