"""Users as operators name them on a command line."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import CommandError


def user_named(username: str) -> AbstractBaseUser:
    """Return the user of this name.

    Raises:
        CommandError: there is none.

    """
    model = get_user_model()
    user: AbstractBaseUser | None = model._default_manager.filter(**{model.USERNAME_FIELD: username}).first()  # noqa: SLF001 — Django's public name for it
    if user is None:
        raise CommandError(f"There is no user named {username!r}.")
    return user
