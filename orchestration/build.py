"""Puts the definitions together from assets, checks, jobs, schedules, sensors and an environment's resources."""

import dagster as dg

from assets import bronze, gold, serving, silver
from orchestration.environments import resources_for
from orchestration.jobs import JOBS
from orchestration.schedules import SCHEDULES
from orchestration.sensors import landing_files, late_rows
from quality.checks import CHECKS
from warehouse.settings import load_settings


def build_defs(overrides: dict[str, str] | None = None) -> dg.Definitions:
    """The definitions.

    Args:
        overrides: settings by name that win over the environment, for tests.
    """
    overrides = overrides or {}
    return dg.Definitions(
        assets=[*bronze.ASSETS, *silver.ASSETS, *gold.ASSETS, *serving.ASSETS],
        asset_checks=CHECKS,
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=[landing_files, late_rows],
        resources=resources_for(load_settings(**overrides), overrides),
        # One process a run, and so one Spark session: a session a step would cost more than most steps.
        executor=dg.in_process_executor,
    )
