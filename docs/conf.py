"""How the documentation is built: `make docs`. The reference reads the code, so Django is set up first."""

import sys
from pathlib import Path

import django
from django.conf import settings

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

# Nothing connects: the reference needs models and primers, not rows.
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "kck_flow"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "unset"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

import kck_flow  # noqa: E402  (after the settings)

project = "kck_flow"
author = "kck_flow contributors"
copyright = author
version = release = kck_flow.__version__
html_title = f"kck_flow {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "markdown"}
nitpicky = False  # docstrings name types of Django and Python, which have no pages here

smartquotes = False  # --option would become a dash, and a quoted name another name

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings: list[str] = []  # a warning is an error: nothing is hidden

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes_style")]
add_module_names = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#6cb0f5", "color-brand-content": "#6cb0f5"},
}
