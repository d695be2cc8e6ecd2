"""Stocks over accounts: with and without parameters, facets and measures; one that cannot be captured."""

from datetime import timedelta

from django.db.models import Q, Sum
from django.db.models.functions import Now

from kck_flow import Facet, Flow, IntegerParameter, ModelParameter, Stock, StringParameter
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


class Recent(Stock):
    """What those hold who joined in the last three seconds: rows come and go with time alone."""

    key_base = "recent_money"
    model = Account
    members = Q(state="active", joined_at__gt=Now() - timedelta(seconds=3), joined_at__lte=Now())
    facets = [Facet("plan"), Facet("vip")]
    measure = Sum("balance")


class Abroad(Stock):
    """Accounts of branches that have a country: a join, counted and not captured."""

    key_base = "abroad"
    capture, soft_expire = None, timedelta(minutes=1)
    model, members = Account, Q(branch__country__isnull=False)
    facets = [COUNTRY.through("branch")]


class Trial(Stock):
    """Accounts that try it."""

    key_base = "trial"
    model, members = Account, Q(state="trial")
    facets = [Facet("plan")]


class Closed(Stock):
    """Accounts that have left."""

    key_base = "closed"
    model, members = Account, Q(state="closed")
    facets = [Facet("plan")]


class Paying(Stock):
    """Accounts that pay, deleted ones too."""

    key_base = "paying"
    model, members = Account, Q(state="active")
    facets = [Facet("plan")]


class SigningUp(Flow):
    """Accounts that are new."""

    key_base = "signing_up"
    sources, sinks = [None], [Trial, Paying]
    facets = [Facet("plan")]


class Converting(Flow):
    """Trials that begin to pay."""

    key_base = "converting"
    sources, sinks = [Trial], [Paying]
    facets = [Facet("plan")]


class Departing(Flow):
    """Accounts that close, or go for good."""

    key_base = "departing"
    sources, sinks = [Trial, Paying], [Closed, None]
    facets = [Facet("plan")]


class BranchArrivals(Flow):
    """Accounts that begin to pay in a branch, or come to it paying."""

    key_base = "branch_arrivals"
    parameters = [ModelParameter("branch", Branch, field="branch_id")]
    sources, sinks, window, tz = [None, "trial", "closed"], [Paying], "day", "Europe/Berlin"
