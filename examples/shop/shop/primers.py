"""What the shop counts: four stocks of accounts, what moves between them, and numbers of each day."""

from datetime import timedelta
from decimal import Decimal

from django.db.models import Q, Sum
from kck_flow import Cache, Dashboard, Facet, Flow, Metric, Panel, Process, Section, Stock, cron

from shop.models import Account


class Accounts:  # what all of them have in common; the stocks are recorded each midnight, by plan and country
    section, unit, unit_plural = "Subscriptions", "account", "accounts"
    facets = [Facet("plan", values=[plan for plan, _ in Account.PLANS]), Facet("country")]


class Held(Accounts):
    model, schedule = Account, cron("0 0 * * *")


class Moved(Accounts):  # counted on the day that the row says, whenever it is written; and each is kept
    window, at, record_events = "day", "changed_at", True


class Trial(Held, Stock):
    key_base, label, members = "trial", "On trial", Q(state=Account.TRIAL)


class Active(Held, Stock):
    key_base, label, members, good = "active", "Active", Q(state=Account.ACTIVE), "up"


class PastDue(Held, Stock):
    key_base, label, members, good = "past_due", "Past due", Q(state=Account.PAST_DUE), "down"


class Churned(Held, Stock):
    key_base, label, members, good = "churned", "Churned", Q(state=Account.CHURNED), "down"


class SigningUp(Moved, Flow):  # None is the outside
    key_base, label, sources, sinks, good = "signing_up", "Sign up", [None], [Trial], "up"


class Converting(Moved, Flow):
    key_base, label, sources, sinks, good = "converting", "Convert", [Trial], [Active], "up"


class Expiring(Moved, Flow):  # an account that has expired is in none of the stocks
    key_base, label, sources, sinks, good = "expiring", "Expire", [Trial], [None], "down"


class FallingBehind(Moved, Flow):
    key_base, label, sources, sinks, good = "falling_behind", "Fall behind", [Active], [PastDue], "down"


class Paying(Moved, Flow):
    key_base, label, sources, sinks, good = "paying", "Pay", [PastDue], [Active], "up"


class Churning(Moved, Flow):  # who leaves, and who was left behind: it has a facet "source"
    key_base, label, sources, sinks, good = "churning", "Churn", [Active, PastDue], [Churned], "down"


class ComingBack(Moved, Flow):
    key_base, label, sources, sinks, good = "coming_back", "Come back", [Churned], [Active], "up"


class Subscriptions(Process):  # complete: kck check --balance fails if anything moves and no flow counts it
    key_base, label, section, complete = "subscriptions", "Subscriptions", "Subscriptions", True
    stocks = [Trial, Active, PastDue, Churned]
    flows = [SigningUp, Converting, Expiring, FallingBehind, Paying, Churning, ComingBack]


class MonthlyRevenue(Metric):  # measures what is now: yesterday's is what was measured yesterday
    key_base, label, section, unit = "monthly_revenue", "Monthly revenue", "Revenue", "EUR"
    good, goal, precision = "up", Decimal("90000"), 2

    def compute(self, key):
        paying = Account.objects.filter(state__in=[Account.ACTIVE, Account.PAST_DUE])
        return paying.aggregate(revenue=Sum("price", default=Decimal(0)))["revenue"]  # to the cent


class ConversionRate(Metric):  # asked for a period, it answers for the past
    key_base, label, section, number_format = "conversion_rate", "Conversion, 30 days", "Revenue", "percent"
    good, goal, precision, rollup = "up", 0.7, 1, "last"

    def compute(self, key, span):
        series = Cache.get_instance().series
        won, lost = (
            sum(point.value or 0 for point in series(flow, span.end - timedelta(days=30), span.end))
            for flow in ("converting", "expiring")
        )
        return Decimal(won) / (won + lost) if won + lost else None


class SignUps(Metric):
    key_base, label, section, unit, unit_plural = "sign_ups", "Sign-ups", "Revenue", "sign-up", "sign-ups"
    good, goal = "up", 10

    def compute(self, key, span):
        return Account.objects.filter(signed_up_at__gte=span.start, signed_up_at__lt=span.end).count()


class Growth(Dashboard):  # panels with "last" keep a range of their own; the others follow the time bar
    """How the subscriptions grow."""

    slug = "growth"
    panels = [
        Section("Where we stand", [Active, PastDue, MonthlyRevenue, ConversionRate]),
        Section(
            "How it moves",
            [
                Subscriptions,
                Panel("subscriptions", "flows", by="month", last=12),
                Panel("signing_up", "bars", by="month", last=12, facet="country"),
                Panel("active", "line", facet="plan"),
                Panel("active", "table", facet="plan"),
            ],
        ),
    ]
