"""What a statement returns, as a product: a report, a list, a number, in SQL and nothing else.

::

    # shop/primers.py
    from datetime import timedelta

    from kck_flow import IntegerParameter
    from primers.sql import SQL


    class Bestsellers(SQL):
        key_base = "bestsellers"
        parameters = [IntegerParameter("year")]
        sql = '''
            SELECT book.title, count(*) AS sold FROM shop_line line JOIN shop_book book ON book.id = line.book_id
            WHERE extract(year FROM line.at) = %(year)s GROUP BY 1 ORDER BY 2 DESC LIMIT 10
        '''
        soft_expire = timedelta(hours=1)

``cache.get("bestsellers/2026")`` is ``[{"title": "Emma", "sold": 41}, …]``. Parameters of the key stand in the
statement as ``%(name)s``; they are sent beside it and never become a part of it, whatever they say. A percent sign of
its own is written twice. A placeholder that is no parameter, or a statement that does not read, is told by
``manage.py check``.

What it returns is at most ``most`` rows: a report is to be looked at, and a table is not to be kept in a cache.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, ClassVar, Literal

from django.db import connections

from kck_flow import Key, Primer
from kck_flow.errors import DeclarationError

# Comments and blanks, before the first word.
_BEFORE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)
_READS = ("select", "with", "values", "table")
_PERCENT = re.compile(r"%(?:%|\((\w+)\)s)?")


class SQL(Primer):
    """What a statement returns.

    Attributes:
        sql: The statement, with ``%(name)s`` for a parameter of the key.
        shape: ``dicts``: a list of dicts by column name; ``rows``: a list of lists; ``column``: a list of the first
            column; ``value``: the first column of the only row, None where there is none.
        most: Rows at most; more are an error, not a cut list.
        using: The alias of the database that is asked; that of the product where not given.
    """

    sql: ClassVar[str] = ""
    shape: ClassVar[Literal["dicts", "rows", "column", "value"]] = "dicts"
    most: ClassVar[int] = 100_000
    using: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        text = type(self).sql
        if not isinstance(text, str) or not text.strip():
            raise DeclarationError("it has no statement: say sql = 'SELECT …'")
        first = _BEFORE.sub("", text, count=1)[:10].split(None, 1)[0].lower() if text.strip() else ""
        if not first.startswith(_READS):
            raise DeclarationError(
                f"its statement begins with {first!r}: a product only reads, by {', '.join(_READS).upper()}"
            )
        known = [one.name for one in self.parameters]
        used = []
        for found in _PERCENT.finditer(text):
            if found[0] == "%":
                there = text[found.start() : found.start() + 12]
                raise DeclarationError(
                    f"its statement has a single percent sign ({there!r}): write %% for one of its own, %(name)s for a "
                    "parameter"
                )
            if found[1] is not None:
                used.append(found[1])
        for name in used:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise DeclarationError(
                    f"its statement takes %({name})s, which is no parameter of it ({', '.join(known) or 'none'}).{hint}"
                )
        unused = [name for name in known if name not in used]
        if unused:
            raise DeclarationError(f"its statement does not use the parameter {unused[0]!r}: %({unused[0]})s")
        if self.shape not in ("dicts", "rows", "column", "value"):
            raise DeclarationError(f"shape is dicts, rows, column or value, not {self.shape!r}")

    def compute(self, key: Key) -> Any:
        alias = self.using or self.database or "default"
        with connections[alias].cursor() as cursor:
            cursor.execute(type(self).sql, dict(key.params))
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchmany(self.most + 1)
        if len(rows) > self.most:
            raise ValueError(
                f"{str(key)!r} has more than {self.most:,} rows: aggregate them in the statement, or raise most."
            )
        if self.shape == "value":
            if len(rows) > 1:
                raise ValueError(
                    f"{str(key)!r} is to be one value, and its statement returns {len(rows):,} rows."
                )
            return rows[0][0] if rows else None
        if self.shape == "column":
            return [row[0] for row in rows]
        if self.shape == "rows":
            return [list(row) for row in rows]
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise ValueError(f"{str(key)!r} has two columns named {doubled[0]!r}: name them apart, by AS.")
        return [dict(zip(names, row, strict=True)) for row in rows]
