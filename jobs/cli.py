"""The command line that all monthly jobs share, by hand, on a cluster and from Dagster: ``--month M [--to M2]``."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from jobs.pipes import Tell, telling_dagster
from jobs.report import JobReport
from warehouse.errors import ReplenishError
from warehouse.lake import Lake, open_lake
from warehouse.months import month_range
from warehouse.object_store_errors import explained
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

Run = Callable[[Lake, Settings, Sequence[str]], JobReport]


def run_job(
    run: Run,
    description: str | None,
    argv: Sequence[str] | None = None,
    dry_run: Run | None = None,
    parts: Mapping[str, Run] | None = None,
) -> None:
    """Runs a monthly job from the command line and prints its report; exits 1 with one line on a known error.

    ``dry_run``, where there is one, runs in its stead with ``--dry-run``; one of ``parts`` with ``--part NAME``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--month", required=True, help="month to compute, YYYY-MM")
    parser.add_argument("--to", help="last month, to compute several in order")
    if dry_run:
        parser.add_argument("--dry-run", action="store_true", help="say what it would take, and do nothing")
    if parts:
        parser.add_argument("--part", choices=sorted(parts), help="only this part of it")
    arguments = parser.parse_args(argv)
    chosen = dry_run if dry_run and arguments.dry_run else run
    if parts and arguments.part:
        chosen = parts[arguments.part]
    with job_process() as tell:
        settings = load_settings()
        months = month_range(arguments.month, arguments.to or arguments.month)
        lake = open_lake(start_session(settings), settings)
        tell(chosen(lake, settings, months))


@contextmanager
def job_process() -> Iterator[Tell]:
    """What every job's program does around its work.

    Yields:
        What to call with each report: prints it, and tells the Dagster that launched the process, if any did.
    """
    # Inside: Dagster is told what a store's failure means, not what the client raised.
    with _ending(), telling_dagster() as tell_dagster, explained():

        def tell(report: JobReport) -> None:
            print(report.line(), flush=True)
            tell_dagster(report)

        yield tell


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends the process with a :class:`ReplenishError`'s text and status 1, without a traceback."""
    with _ending(), explained():
        yield


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
