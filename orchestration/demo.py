"""The demo: a year of real grocery purchases, its last months replayed one at a time (``make demo MONTHS=2``).

Lands the Complete Journey data of 2017, builds the history up to the month before the replay in one run and publishes
lists. Then lands and runs the last months one by one, publishes after each, and says what changed. Ends with a page to
read (``demo.html`` in the home). Only months after the last published one are run, so a second run changes nothing.
Not here: what a month's outcome looks like (``demo_report.py``) and the page (``jobs/demo_page.py``).
"""

import argparse
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg

from assets.factory import asset_key
from jobs.cli import exit_on_error
from jobs.demo_page import write_page
from jobs.land_complete_journey import land
from orchestration.demo_report import example_list, show_list, show_month, show_next, table_facts
from orchestration.display import Display, StepResult, open_display
from orchestration.run import count_steps, home_instance, run_months
from warehouse.contracts.serving import SUBSCRIBE_SAVE_LISTS
from warehouse.errors import SettingsError
from warehouse.lake import open_lake
from warehouse.months import month_range
from warehouse.serving.store import open_store
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

YEAR = month_range("2017-01", "2017-12")
"""All months of the data."""
REPLAYED = "2"
"""Months that arrive one at a time when ``MONTHS`` says nothing."""
BUSINESS_TZ = "America/New_York"
"""The shops' time zone: in it the data's weeks fit exactly (docs/data.md)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", default=REPLAYED, help=f"months that arrive one at a time, 1 to {len(YEAR) - 1}")
    with exit_on_error():
        replayed = parse_replayed(parser.parse_args(argv).months)
        settings = _settings()
        with home_instance() as instance:
            steps = plan_steps(replayed, instance.get_materialized_partitions(asset_key(SUBSCRIBE_SAVE_LISTS)))
            if not steps:
                print(f"Nothing to do: lists are published up to {YEAR[-1]}.")
            elif not _run_steps(settings, instance, steps):
                return 1
            page = _page(settings, instance, anew=bool(steps))
        show_list(open_store(settings.serving_store, settings.dynamodb_endpoint))
        show_next(open_store(settings.serving_store, settings.dynamodb_endpoint), page)
        return 0


def parse_replayed(text: str) -> int:
    """How many months arrive one at a time.

    Raises:
        SettingsError: it is no whole number that leaves at least one month of history.
    """
    most = len(YEAR) - 1
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise SettingsError(
            f"MONTHS is {text!r}. It takes a whole number from 1 to {most}: how many of the months of 2017 arrive one "
            "at a time after the others were built as history"
        )
    return int(text)


def plan_steps(replayed: int, published: Collection[str]) -> list[list[str]]:
    """The months to run, those of each step together: history first, then one month at a time.

    Lists of a month before the last published one would never be read, so what lies before it is not run.

    Args:
        replayed: how many of the year's last months arrive one at a time.
        published: months whose lists were published.
    """
    last = max((month for month in published if month in YEAR), default="")
    history = [month for month in YEAR[:-replayed] if month > last]
    return [*([history] if history else []), *([month] for month in YEAR[-replayed:] if month > last)]


def _settings() -> Settings:
    """The settings, after the demo's own were put where the UI, the API and hand-run jobs read them too."""
    home = load_settings().home
    home.mkdir(parents=True, exist_ok=True)
    defaults = home / "settings.env"
    if not defaults.exists():
        lines = [f"REPLENISH_BUSINESS_TZ={BUSINESS_TZ}", f"REPLENISH_LAST_MONTH={YEAR[-1]}"]
        defaults.write_text("\n".join(["# Settings of this home; environment variables win.", *lines, ""]))
    return load_settings()


def _run_steps(settings: Settings, instance: dg.DagsterInstance, steps: Sequence[Sequence[str]]) -> bool:
    total = sum(1 + count_steps(months, len(months) > 1) for months in steps)
    store = open_store(settings.serving_store, settings.dynamodb_endpoint)
    with ThreadPoolExecutor(1) as pool, open_display(total) as display:
        # The engine starts while the first files are written.
        engine = pool.submit(start_session, settings)
        for months in steps:
            before, example = store.live(), example_list(store)
            _land(settings, months, display)
            lake = open_lake(engine.result(), settings)
            if not run_months(instance, months, len(months) > 1, display=display):
                return False
            show_month(lake, store, months[-1], before, example)
    return True


def _land(settings: Settings, months: Sequence[str], display: Display) -> None:
    name = f"land {months[0]}" if len(months) == 1 else f"land {months[0]}…{months[-1]}"
    display.begin(name)
    report = land(settings, months)
    display.end(StepResult(name, report.seconds, sum(report.written.values())))
    print(f"  {report.line()}", flush=True)


def _page(settings: Settings, instance: dg.DagsterInstance, anew: bool) -> Path:
    """The demo's page, written where there was news or it is not there."""
    path = settings.home / "demo.html"
    if anew or not path.exists():
        print("Writing the page …", flush=True)
        lake = open_lake(start_session(settings), settings)
        write_page(path, lake, settings, YEAR, table_facts(instance, YEAR[-1]))
    return path


if __name__ == "__main__":
    sys.exit(main())
