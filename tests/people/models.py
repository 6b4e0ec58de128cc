"""A user model unlike Django's own."""

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    """A user whose key is a UUID."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    profile_image = models.CharField(max_length=200, default="https://example.com/face.png")
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        """Return the user name."""
        return self.username
