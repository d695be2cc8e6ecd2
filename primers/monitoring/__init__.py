"""What the cache knows of itself, as metrics, and a dashboard of them: an app of its own.

::

    # settings.py
    INSTALLED_APPS = [..., "kck_flow", "primers.monitoring"]

``cache.series("kck_hit_rate", start, end)`` is the share of reads that were answered at once, day by day; the dashboard
is at ``dashboards/kck``. Processes tell their reads once a minute (``KCK_FLOW["COUNT_READS"]``); refreshes tell their
time themselves. What a day was is remembered as of any metric, longer than the counts beneath it.
"""
