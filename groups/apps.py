"""Wiring of the groups app."""

from django.apps import AppConfig


class GroupsConfig(AppConfig):
    """Groups and communities."""

    name = "groups"
    verbose_name = "Groups"
