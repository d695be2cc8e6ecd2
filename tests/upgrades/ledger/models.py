"""What is counted."""

from django.db import models


class Entry(models.Model):
    state = models.TextField(default="open")
    plan = models.TextField(default="free")
