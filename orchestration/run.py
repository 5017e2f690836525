"""Materializes months with the very definitions that the UI loads, in one process and one Spark session.

    python -m orchestration.run --from 2017-01 --to 2017-12 [--single-run]

Month by month, each from landing to published lists. With ``--single-run`` the history of all months is one run, and
lists are decided and published for the last month only: lists of months that are past would be replaced at once.
Exits 0 only if every asset and every blocking check passed. Runs are recorded in the home's Dagster instance.
"""

import argparse
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.partitions import MONTHS
from orchestration.build import build_defs
from orchestration.display import Display, open_display
from orchestration.instance import prepare
from orchestration.jobs import DECISIONS, HISTORY, MONTHLY
from orchestration.progress import RunListener, check_steps
from warehouse.errors import PermanentError, ReplenishError
from warehouse.months import month_range
from warehouse.settings import load_settings

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's console says every event otherwise; the UI keeps them all, and the display shows what a person needs."""


@contextmanager
def home_instance() -> Iterator[dg.DagsterInstance]:
    """The home's Dagster instance, the one that ``make ui`` shows."""
    os.environ["DAGSTER_HOME"] = str(prepare(load_settings()))
    with dg.DagsterInstance.get() as instance:
        yield instance


def run_months(
    instance: dg.DagsterInstance,
    months: Sequence[str],
    single_run: bool,
    overrides: dict[str, str] | None = None,
    display: Display | None = None,
) -> bool:
    """Materializes the months; stops at the first run that fails.

    Args:
        instance: where the runs are recorded.
        months: in order.
        single_run: the history of all months in one run, and lists for the last month only.
        overrides: settings by name that win over the environment, for tests.
        display: told of every step; None: one of these runs alone, on standard output.

    Returns:
        Whether every run succeeded.

    Raises:
        PermanentError: a month is not one of the partitions.
    """
    _check_months(months)
    definitions = build_defs(overrides)
    with ExitStack() as open_displays:
        if display is None:
            display = open_displays.enter_context(open_display(count_steps(months, single_run, definitions)))
        plan = _plan(months, single_run)
        return all(_run(definitions, instance, job, part, display) for job, part in plan)


def count_steps(months: Sequence[str], single_run: bool, definitions: dg.Definitions | None = None) -> int:
    """How many steps :func:`run_months` will tell a display of."""
    definitions = definitions or build_defs()
    return sum(len(definitions.resolve_job_def(job).nodes) for job, _ in _plan(months, single_run))


def _plan(months: Sequence[str], single_run: bool) -> list[tuple[str, Sequence[str]]]:
    if single_run:
        return [(HISTORY, months), (DECISIONS, months[-1:])]
    return [(MONTHLY, [month]) for month in months]


def _check_months(months: Sequence[str]) -> None:
    known = MONTHS.get_partition_keys()
    unknown = [month for month in months if month not in known]
    if unknown:
        raise PermanentError(
            f"{', '.join(unknown)} is not a monthly partition: they run from {known[0]} (REPLENISH_FIRST_MONTH) "
            f"to {known[-1]}, the last month that has ended"
        )


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, months: Sequence[str], display: Display
) -> bool:
    started = time.monotonic()
    label = months[0] if len(months) == 1 else f"{months[0]}…{months[-1]}"
    print(f"▸ {job} {label}", flush=True)
    which: dict[str, Any] = {"partition_key": months[0]}
    if len(months) > 1:
        which = {"tags": {ASSET_PARTITION_RANGE_START_TAG: months[0], ASSET_PARTITION_RANGE_END_TAG: months[-1]}}
    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, RunListener(display, check_steps(definitions)).hear)
    result = definitions.resolve_job_def(job).execute_in_process(
        instance=instance, run_id=run_id, raise_on_error=False, run_config=_QUIET, **which
    )
    _explain(result)
    outcome = "done" if result.success else "FAILED"
    print(f"  {outcome} in {time.monotonic() - started:.0f} s; longest: {_longest_steps(result)}", flush=True)
    return result.success


def _longest_steps(result: dg.ExecuteInProcessResult, count: int = 5) -> str:
    steps = [
        (event.step_success_data.duration_ms, event.step_key) for event in result.all_events if event.is_step_success
    ]
    longest = sorted(steps, reverse=True)[:count]
    return ", ".join(f"{step.replace('__', '/', 1)} {duration / 1000:.0f} s" for duration, step in longest)


def _explain(result: dg.ExecuteInProcessResult) -> None:
    """Says in a line each which assets or checks failed; the UI holds the rest."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            root = error.cause or error
            print(f"  ✗ {event.step_key}: {root.message.strip()}", file=sys.stderr)
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            print(f"  ✗ check {check.check_name} of {check.asset_key.to_user_string()}: {check.description}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", required=True, help="first month, YYYY-MM")
    parser.add_argument("--to", dest="last", required=True, help="last month")
    parser.add_argument("--single-run", action="store_true", help="history in one run, lists for the last month only")
    arguments = parser.parse_args(argv)
    try:
        with home_instance() as instance:
            months = month_range(arguments.first, arguments.last)
            return 0 if run_months(instance, months, arguments.single_run) else 1
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
