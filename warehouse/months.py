"""Calendar months as the ``YYYY-MM`` strings that every table, partition and command uses."""

import re
from datetime import date, timedelta

from warehouse.errors import PermanentError

_MONTH = re.compile(r"^(\d{4})-(0[1-9]|1[0-2])$")


def parse_month(month: str) -> tuple[int, int]:
    """Returns ``(year, month)`` of a ``YYYY-MM`` string.

    Raises:
        PermanentError: the text is not a month.
    """
    match = _MONTH.match(month)
    if not match:
        raise PermanentError(f"{month!r} is not a month: it takes YYYY-MM, for example 2017-05")
    return int(match[1]), int(match[2])


def add_months(month: str, count: int) -> str:
    """The month ``count`` months after ``month`` (before it, where negative)."""
    year, number = parse_month(month)
    index = year * 12 + number - 1 + count
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def month_range(first: str, last: str) -> list[str]:
    """All months from ``first`` to ``last``, both included, in order.

    Raises:
        PermanentError: ``last`` is before ``first``.
    """
    if last < first:
        raise PermanentError(f"the months run backwards: from {first} to {last}")
    months = [first]
    while months[-1] < last:
        months.append(add_months(months[-1], 1))
    return months


def first_date(month: str) -> date:
    """First day of the month."""
    return date(*parse_month(month), 1)


def last_date(month: str) -> date:
    """Last day of the month."""
    return first_date(add_months(month, 1)) - timedelta(days=1)


def days_in(month: str) -> int:
    """Number of days of the month."""
    return last_date(month).day
