#!/usr/bin/env python3
"""The test project's manage.py: `python manage.py makemigrations kck_flow`, `python manage.py kck keys`."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    execute_from_command_line(sys.argv)
