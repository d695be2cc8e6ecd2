"""The admin: an inspector of products, their queue, runs, records and events, metrics and dashboards as rows; the
members of stocks in the lists that a site has already.

With ``django.contrib.admin`` installed the default site has it; another is given it by ``register(site)``.
``extend(site)`` adds the filter by stock and the history in flows to the site's own pages, ``StockFilter`` and
``FlowHistory`` do so for one page.
"""

from __future__ import annotations

from django.contrib import admin

from .events import EventAdmin, FlowHistory
from .members import StockFilter
from .products import ProductAdmin
from .sites import extend, register

__all__ = ["EventAdmin", "FlowHistory", "ProductAdmin", "StockFilter", "extend", "register"]

register(admin.site)
