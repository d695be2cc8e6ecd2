"""The Django project, and the one app, that the Django contestants live in."""
