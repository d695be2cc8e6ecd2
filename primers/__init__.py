"""Ready-made primers, to be read and subclassed.

Importing a module declares nothing. What you want, you name in an app's ``primers.py``; the name makes it a
product::

    # shop/primers.py
    from primers import users


    class ActiveUsers(users.ActiveUsers):
        key_base = "active_users"

They use what every primer may use (``from kck_flow import …``) and nothing else: what is done here, your own
can do.

===========  ========================================================================================
``users``    how many accounts there are, how many come back, who is new, per day in a named time zone
``remote``   JSON and CSV fetched over HTTP on a schedule; what is made from them follows each import
``topics``   messages counted by what they say, the latest status of each thing, a log of what was said
``history``  what happened, asked for page by page over HTTP, as a stream
``derived``  shares and ratios of two products, moving averages, funnels
``sql``      what a statement returns: rows, a column, a number; in code or in a file of TOML
===========  ========================================================================================
"""
