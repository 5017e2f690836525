"""The command line that all monthly jobs share: ``--month M [--to M2]``."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jobs.report import JobReport
from warehouse.errors import ReplenishError
from warehouse.lake import Lake, open_lake
from warehouse.months import month_range
from warehouse.object_store_errors import explained
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

Run = Callable[[Lake, Settings, Sequence[str]], JobReport]


def run_job(run: Run, description: str | None, argv: Sequence[str] | None = None, dry_run: Run | None = None) -> None:
    """Runs a monthly job from the command line and prints its report; exits 1 with one line on a known error.

    ``dry_run``, where there is one, runs in its stead with ``--dry-run``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--month", required=True, help="month to compute, YYYY-MM")
    parser.add_argument("--to", help="last month, to compute several in order")
    if dry_run:
        parser.add_argument("--dry-run", action="store_true", help="say what it would take, and do nothing")
    arguments = parser.parse_args(argv)
    chosen = dry_run if dry_run and arguments.dry_run else run
    with exit_on_error():
        settings = load_settings()
        months = month_range(arguments.month, arguments.to or arguments.month)
        lake = open_lake(start_session(settings), settings)
        print(chosen(lake, settings, months).line())


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends the process with a :class:`ReplenishError`'s text and status 1, without a traceback."""
    try:
        with explained():
            yield
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
