import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone


class Shown(BaseUserManager["Member"]):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(hidden=False)


class Member(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    hidden = models.BooleanField(default=False)

    objects: ClassVar[Shown] = Shown()

    USERNAME_FIELD = "email"

    def __str__(self) -> str:
        return self.email
