"""Stocks over accounts: with and without parameters, facets and measures; one that cannot be captured."""

from datetime import timedelta

from django.db.models import Q, Sum

from kck_flow import Facet, IntegerParameter, ModelParameter, Stock, StringParameter
from tests.accounts.models import Account, Branch

COUNTRY = Facet("country")


class Active(Stock):
    """Accounts that pay."""

    key_base = "active"
    model, members = Account, Q(state="active", deleted_at=None)
    facets = [Facet("plan"), Facet("vip"), Facet("plan") * Facet("vip"), Facet("joined", "joined_at__year")]


class Everyone(Stock):
    """All accounts."""

    key_base = "everyone"
    model = Account


class BranchAccounts(Stock):
    """Active accounts of one branch."""

    key_base = "branch_accounts"
    parameters = [ModelParameter("branch", Branch, field="branch_id")]
    model, members = Account, Q(state="active")
    facets = [Facet("plan")]


class Points(Stock):
    """Accounts by state and points."""

    key_base = "holding"
    parameters = [StringParameter("state"), IntegerParameter("points")]
    model = Account


class Money(Stock):
    """What the accounts hold."""

    key_base = "money"
    model, members = Account, ~Q(state="closed")
    facets = [Facet("state", values=["active", "trial", "never"])]
    measure = Sum("balance")


class Abroad(Stock):
    """Accounts of branches that have a country: a join, counted and not captured."""

    key_base = "abroad"
    capture, soft_expire = None, timedelta(minutes=1)
    model, members = Account, Q(branch__country__isnull=False)
    facets = [COUNTRY.through("branch")]
