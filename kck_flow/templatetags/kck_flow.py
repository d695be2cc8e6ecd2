"""Products in any template: ``{% load kck_flow %}``.

``{% kck_value "title/5" %}`` is a value, ``{% kck_sparkline "active" %}`` how it went, ``{% kck_panel "active"
show="bars" last=30 %}`` a panel as dashboards have them. The first tag of a page reads what all its tags ask for, those
of the templates that it extends and includes too; none computes, unless told to (``prime=True``). What the request's
user may not see is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django import template
from django.db.models import QuerySet
from django.template.base import FilterExpression, Node, NodeList, Parser, Token, token_kwargs
from django.template.defaulttags import ForNode, WithNode
from django.template.loader_tags import ExtendsNode, IncludeNode
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

from ..dashboards import embedded
from ..dashboards.embedded import SHOWS, Ask, Reads
from ..errors import KckFlowError

register = template.Library()

# So many values of a loop are looked at beforehand; templates that include each other are followed so deep.
LOOPED, DEEP = 500, 10
_OURS = "kck_flow.reads"


class ProductNode(Node):
    """A tag that shows a product.

    Attributes:
        key: Of the product.
        options: By name.
        target: The variable that is given the result instead of the page; empty for none.
    """

    known: tuple[str, ...] = ()
    with_series = False

    def __init__(self, key: FilterExpression, options: dict[str, FilterExpression], target: str) -> None:
        self.key, self.options, self.target = key, options, target

    def given(self, context: Any) -> dict[str, Any]:
        """Return the options, resolved."""
        return {name: one.resolve(context) for name, one in self.options.items()}

    def ask(self, context: Any) -> Ask:
        """Return what the tag asks for, here. Raises KckFlowError, ValueError: its key or an option is wrong."""
        key = embedded.key_of(self.key.resolve(context))
        if not self.with_series:
            return Ask(key)
        given = self.given(context)
        over = embedded.over_of(given.get("last"), given.get("by", ""), given.get("compare", self.compares))
        return Ask(key, over)

    compares = "none"

    def render(self, context: Any) -> SafeString | str:
        reads = reads_of(context)
        found = self.found(reads, context)
        if self.target:
            context[self.target] = found
            return ""
        return conditional_escape(found) if context.autoescape else str(found)

    def found(self, reads: Reads, context: Any) -> Any:
        """Return what the tag shows."""
        raise NotImplementedError


class ValueNode(ProductNode):
    known = ("prime", "unit")

    def found(self, reads: Reads, context: Any) -> Any:
        given = self.given(context)
        if self.target:
            return reads.value(self.ask(context), prime=bool(given.get("prime")))[1]
        return reads.text(self.ask(context), prime=bool(given.get("prime")), unit=bool(given.get("unit")))


class SparklineNode(ProductNode):
    known = ("last", "by", "theme")
    with_series = True

    def found(self, reads: Reads, context: Any) -> Any:
        return reads.spark(self.ask(context), str(self.given(context).get("theme") or ""))


class PanelNode(ProductNode):
    known = ("show", "last", "by", "compare", "title", "goal", "facet", "theme")
    with_series = True
    compares = "previous"

    def found(self, reads: Reads, context: Any) -> Any:
        given = self.given(context)
        show = given.pop("show", "auto")
        if show not in SHOWS:
            raise template.TemplateSyntaxError(f"kck_panel: show is one of {', '.join(SHOWS)}, not {show!r}.")
        ask = self.ask(context)
        try:
            return mark_safe(reads.panel(ask, show, given))
        except ValueError as error:
            raise template.TemplateSyntaxError(f"kck_panel: {error}") from None


def _tag(kind: type[ProductNode]) -> Any:
    def compile_tag(parser: Parser, token: Token) -> ProductNode:
        name, *bits = token.split_contents()
        target = ""
        if len(bits) > 2 and bits[-2] == "as":
            target, bits = bits[-1], bits[:-2]
        if not bits:
            raise template.TemplateSyntaxError(
                f'{name} takes the key of a product: {{% {name} "title/5" %}}.'
            )
        key, *rest = bits
        options = token_kwargs(rest, parser)
        if rest or not set(options) <= set(kind.known):
            wrong = rest[0] if rest else next(one for one in options if one not in kind.known)
            raise template.TemplateSyntaxError(
                f"{name} takes a key, and {', '.join(f'{one}=…' for one in kind.known)}; not {wrong!r}."
            )
        return kind(parser.compile_filter(key), options, target)

    return compile_tag


register.tag("kck_value", _tag(ValueNode))
register.tag("kck_sparkline", _tag(SparklineNode))
register.tag("kck_panel", _tag(PanelNode))


# -- all tags of a page at once


def reads_of(context: Any) -> Reads:
    """Return what the tags of this page have read: at the first of them, all that can be told beforehand.

    Kept in the context of the rendering, which is nobody else's: two requests never share it, whether they are served
    by threads or by one loop.
    """
    kept = context.render_context.dicts[0]
    reads: Reads | None = kept.get(_OURS)
    if reads is None:
        reads = kept[_OURS] = Reads(_user(context))
        kept["kck_flow.walked"] = set()
    walked: set[int] = kept["kck_flow.walked"]
    for one in (context.template, context.render_context.template):
        if one is not None and id(one) not in walked:
            walked.add(id(one))
            reads.take(list(_asks(one.nodelist, context, walked, 0)))
    return reads


def _user(context: Any) -> Any:
    request = context.get("request") or getattr(context, "request", None)
    return getattr(request, "user", None) if request is not None else context.get("user")


def _asks(nodes: Iterable[Any], context: Any, walked: set[int], depth: int) -> Iterator[Ask]:
    """Yield what the tags below some nodes ask for, as far as it can be told before they are reached."""
    for node in nodes:
        if isinstance(node, ProductNode):
            try:
                yield node.ask(context)
            except (KckFlowError, ValueError, template.VariableDoesNotExist):
                pass  # of a variable that is set later, or wrong: it says so where it stands
            continue
        if isinstance(node, ForNode):
            yield from _looped(node, context, walked, depth)
        elif isinstance(node, WithNode):
            with context.push(**_resolved(node.extra_context, context)):
                yield from _asks(node.nodelist, context, walked, depth)
            continue
        elif isinstance(node, IncludeNode) and depth < DEEP:
            with context.push(**_resolved(node.extra_context, context)):
                yield from _template(node.template, context, walked, depth)
        elif isinstance(node, ExtendsNode) and depth < DEEP:
            yield from _template(node.parent_name, context, walked, depth)
        for name in getattr(node, "child_nodelists", ()):
            below = getattr(node, name, None)
            if isinstance(below, NodeList) and not isinstance(node, ForNode):
                yield from _asks(below, context, walked, depth)


def _template(named: Any, context: Any, walked: set[int], depth: int) -> Iterator[Ask]:
    """Yield what another template's tags ask for, where its name stands in this one."""
    name = getattr(named, "var", None)
    if not isinstance(name, str):
        return
    try:
        found = context.template.engine.get_template(name)
    except (template.TemplateDoesNotExist, template.TemplateSyntaxError):
        return  # said where it is included
    walked.add(id(found))
    yield from _asks(found.nodelist, context, walked, depth + 1)


def _looped(node: ForNode, context: Any, walked: set[int], depth: int) -> Iterator[Ask]:
    """Yield what the tags of a loop ask for, for each of its values; of what can be gone through twice."""
    sequence: Any = node.sequence
    try:
        values = sequence.resolve(context, ignore_failures=True)
    except Exception:  # said where the loop stands
        return
    if isinstance(values, QuerySet):
        plain = len(getattr(sequence.var, "lookups", None) or ()) == 1 and not sequence.filters
        if not plain:
            return  # made anew whenever it is asked for: it would be read twice
    elif not isinstance(values, (list, tuple, range)):
        return
    for value in list(values[:LOOPED]) if not isinstance(values, QuerySet) else list(values)[:LOOPED]:
        with context.push():
            if len(node.loopvars) == 1:
                context[node.loopvars[0]] = value
            else:
                try:
                    context.update(dict(zip(node.loopvars, value, strict=True)))
                except (TypeError, ValueError):
                    return
            yield from _asks(node.nodelist_loop, context, walked, depth)
    yield from _asks(node.nodelist_empty, context, walked, depth)


def _resolved(given: Any, context: Any) -> dict[str, Any]:
    return {name: one.resolve(context) for name, one in given.items()}
