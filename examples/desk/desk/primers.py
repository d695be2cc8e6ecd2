"""What the desk counts: stocks of tickets, what moves between them, and numbers of each day."""

from datetime import timedelta
from statistics import fmean, median

from django.db.models import F, Q
from django.db.models.functions import Now
from kck_flow import Cache, Facet, Flow, Metric, Primer, Process, Stock, cron

from desk import survey
from desk.models import Ticket

DAY = timedelta(days=1)


class Tickets:  # what all of them have in common; the stocks are recorded each midnight, by topic and channel
    section, unit, unit_plural = "Tickets", "ticket", "tickets"
    facets = [Facet("topic"), Facet("channel", values=["mail", "chat", "phone"])]


class Held(Tickets):
    model, schedule = Ticket, cron("0 0 * * *")


class Moved(Tickets):  # counted in the hour that the row says, whenever it is written; and each is kept
    window, at, record_events = "hour", "changed_at", True


class New(Held, Stock):
    key_base, label, members, good = "new_tickets", "Waiting for us", Q(state=Ticket.NEW), "down"


class Open(Held, Stock):
    key_base, label, members, good = "open_tickets", "Open", Q(state=Ticket.OPEN), "down"


class Waiting(Held, Stock):
    key_base, label, members = "waiting_tickets", "Waiting for customers", Q(state=Ticket.WAITING)


class Solved(Held, Stock):
    key_base, label, members, good = "solved_tickets", "Solved", Q(state=Ticket.SOLVED), "up"


class LongOpen(
    Held, Stock
):  # it grows by time alone, with no job that moves anything, and is exact at every instant
    key_base, label, good = "long_open", "Open for three days", "down"
    members = Q(state__in=[Ticket.NEW, Ticket.OPEN, Ticket.WAITING]) & Q(opened_at__lte=Now() - 3 * DAY)


class Arriving(Moved, Flow):  # None is the outside
    key_base, label, sources, sinks = "arriving", "Arrive", [None], [New]


class Answering(Moved, Flow):
    key_base, label, sources, sinks, good = "answering", "Answer", [New], [Open], "up"


class AskingBack(Moved, Flow):
    key_base, label, sources, sinks = "asking_back", "Ask back", [Open], [Waiting]


class HearingBack(Moved, Flow):
    key_base, label, sources, sinks = "hearing_back", "Hear back", [Waiting], [Open]


class Solving(Moved, Flow):  # it has a facet "source": solved, or never heard of again
    key_base, label, sources, sinks, good = "solving", "Solve", [Open, Waiting], [Solved], "up"


class Reopening(Moved, Flow):
    key_base, label, sources, sinks, good = "reopening", "Reopen", [Solved], [Open], "down"


class Closing(Moved, Flow):  # what is closed is in none of the stocks
    key_base, label, sources, sinks = "closing", "Close", [Solved], [None]


class Desk(Process):  # complete: kck check --balance fails if anything moves and no flow counts it
    key_base, label, section, complete = "tickets", "Tickets", "Tickets", True
    stocks = [New, Open, Waiting, Solved]
    flows = [Arriving, Answering, AskingBack, HearingBack, Solving, Reopening, Closing]


class FirstReply(Metric):  # a duration, in seconds; asked for a period, it answers for the past
    key_base, label, section, number_format = (
        "first_reply",
        "First reply, median of 7 days",
        "Service",
        "duration",
    )
    good, goal, rollup = "down", 3600, "last"

    def compute(self, key, span):
        replied = Ticket.objects.filter(first_reply_at__gte=span.end - 7 * DAY, first_reply_at__lt=span.end)
        took = list(replied.values_list(F("first_reply_at") - F("opened_at"), flat=True))
        return median(took) if took else None


class Satisfaction(Metric):  # its source fails: the last good number stays, and says so
    key_base, label, section, unit, unit_plural = "satisfaction", "Satisfaction", "Service", "of 5", "of 5"
    good, goal, precision, rollup, soft_expire = "up", 4.2, 1, "last", timedelta(hours=3)

    def compute(self, key, span):
        given = survey.scores(span.end - 14 * DAY, span.end)
        return fmean(given) if given else None


class Reopened(Metric):
    key_base, label, section, number_format = "reopened_share", "Reopened, 7 days", "Service", "percent"
    good, goal, precision, rollup = "down", 0.1, 1, "last"

    def compute(self, key, span):
        series = Cache.get_instance().series
        back, solved = (
            sum(point.value or 0 for point in series(flow, span.end - 7 * DAY, span.end, by="day"))
            for flow in ("reopening", "solving")
        )
        return back / solved if solved else None


class Workload(
    Primer
):  # dear to compute: once a night, and not sooner, whoever asks; by day it is stale, and says so
    key_base, label, section, unit, unit_plural = "workload", "Work on the desk", "Service", "hour", "hours"
    good, precision, keep_history = "down", 1, True
    schedule, soft_expire, min_gap = cron("0 0 * * *"), timedelta(hours=1), timedelta(hours=20)

    def compute(self, key):
        open_now = Ticket.objects.exclude(state__in=[Ticket.SOLVED, Ticket.CLOSED])
        return round(
            sum(1.5 if topic == "bug" else 0.4 for topic in open_now.values_list("topic", flat=True)), 1
        )
