"""Who may see a product, and do something about it: the one function that pages, API, images, tags and admin ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.utils.module_loading import import_string

from .conf import conf
from .errors import DeclarationError
from .key import Key
from .process import Process
from .registry import registry

# What may be asked. To look and to export what one looks at goes by the product's own rule; the others need a
# permission of Django's besides, ``kck_flow.<action>_dataproduct``.
VIEW, EXPORT = "view", "export"
ACTIONS: Final = ("view", "export", "refresh", "invalidate", "write", "share")
_GRANTED: Final = ("refresh", "invalidate", "write", "share")
RULES: Final = ("public", "authenticated", "staff", "superuser", "nobody")

Rule = str | Callable[..., bool] | None


def may(user: Any, action: str, key: Key | str) -> bool:
    """Whether a user may do something about a product.

    Args:
        user: As of ``request.user``; None is somebody unknown.
        action: ``view, export, refresh, invalidate, write`` or ``share``.
        key: A key, or a key base for the family. What has no primer goes by ``KCK_FLOW["PERMISSION"]``.
    """
    primer = registry.primers.get(getattr(key, "key_base", None) or str(key).partition("/")[0])
    rule = primer.permission if primer is not None else None
    if not allows(rule, user, action, key):
        return False
    # A process shows what its parts hold: who may not see one of them may not see it.
    return not isinstance(primer, Process) or all(may(user, action, one) for one in _parts(primer, key))


def _parts(process: Process, key: Key | str) -> list[Key]:
    try:
        stocks, flows = registry.parts(process)
    except DeclarationError:
        return []  # it shows nothing
    params = getattr(key, "params", {})
    return [
        one.build_key(**{name.name: params[name.name] for name in one.parameters if name.name in params})
        for one in (*stocks, *flows)
        if all(name.has_default or name.name in params for name in one.parameters)
    ]


def may_all(user: Any, action: str, key_base: str) -> bool:
    """Whether a user may do something about every product of a family; where a function decides, that is not known, and
    hence not so.
    """
    primer = registry.primers.get(key_base)
    rule = (primer.permission if primer is not None else None) or conf.PERMISSION
    if isinstance(primer, Process):
        try:
            parts = registry.parts(primer)
        except DeclarationError:
            parts = ([], [])
        if not all(may_all(user, action, one.name) for one in (*parts[0], *parts[1])):
            return False
    if callable(rule) or (isinstance(rule, str) and rule.count(".") > 1):
        return False
    return allows(rule, user, action, key_base)


def may_none(user: Any, action: str, key_base: str) -> bool:
    """Whether a user may not do something about any product of a family; where a function decides, that is not known,
    and hence not so.
    """
    primer = registry.primers.get(key_base)
    rule = (primer.permission if primer is not None else None) or conf.PERMISSION
    if callable(rule) or (isinstance(rule, str) and rule.count(".") > 1):
        return False
    return not allows(rule, user, action, key_base)


def allows(rule: Rule, user: Any, action: str, about: Any) -> bool:
    """Whether a rule lets a user do something.

    Args:
        rule: ``"public", "authenticated", "staff", "superuser", "nobody"``; a permission of Django's, as in
            ``"shop.view_order"``; a function of (user, action, about) that returns True or False, or its path, as in
            ``"shop.rules.may_see"``; None for ``KCK_FLOW["PERMISSION"]``.
        about: What it is about: a key, or a dashboard.

    Raises:
        ValueError: there is no such action, or the rule is none.
    """
    if action not in ACTIONS:
        raise ValueError(f"action is one of {', '.join(ACTIONS)}, not {action!r}.")
    rule = conf.PERMISSION if rule is None else rule
    if action in _GRANTED and not _has(user, f"kck_flow.{action}_dataproduct"):
        return False
    if isinstance(rule, str) and rule.count(".") > 1:
        rule = import_string(rule)
    if callable(rule):
        return bool(rule(user, action, about))
    if rule == "public":
        return True
    if rule == "nobody" or not is_known(user):
        return False
    if rule == "authenticated":
        return True
    if rule == "staff":
        return bool(user.is_staff)
    if rule == "superuser":
        return bool(user.is_superuser)
    if isinstance(rule, str) and "." in rule:
        return _has(user, rule)
    raise ValueError(
        f"permission is one of {', '.join(RULES)}, a permission such as 'shop.view_order', or a function of "
        f"(user, action, about); not {rule!r}."
    )


def may_see_rows(user: Any, model: Any) -> bool:
    """Whether a user may see rows of a model, as in the admin: a number may be public, and who is behind it not."""
    meta = model._meta
    return any(_has(user, f"{meta.app_label}.{what}_{meta.model_name}") for what in ("view", "change"))


def is_known(user: Any) -> bool:
    """Whether a user is somebody who is logged in, and not locked out."""
    return user is not None and bool(user.is_authenticated) and bool(user.is_active)


def _has(user: Any, permission: str) -> bool:
    return is_known(user) and bool(user.has_perm(permission))


def problem(rule: Any) -> str:
    """Return what is wrong with a rule, in words; empty where nothing is."""
    if rule is None or callable(rule) or rule in RULES:
        return ""
    if isinstance(rule, str) and rule.count(".") == 1:
        return ""
    if isinstance(rule, str) and rule.count(".") > 1:
        try:
            import_string(rule)
            return ""
        except ImportError as error:
            return f"permission is {rule!r}, which cannot be imported: {error}"
    return f"permission is {rule!r}"
