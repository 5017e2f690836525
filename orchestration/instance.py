"""Prepares the home's Dagster instance: ``python -m orchestration.instance`` prints its folder (``DAGSTER_HOME``)."""

from pathlib import Path

from warehouse.settings import Settings, load_settings

_CONFIG = """\
# Written once by `python -m orchestration.instance`; yours to change.
telemetry:
  enabled: false
nux:
  # No questionnaire in front of the UI.
  enabled: false
concurrency:
  runs:
    # A run uses every core of the machine through its own Spark session.
    max_concurrent_runs: 1
  pools:
    # One writer a table: each table's asset is in a pool of its own.
    granularity: op
    default_limit: 1
run_monitoring:
  enabled: true
  # A cancelled run must not hold its pools.
  free_slots_after_run_end_seconds: 60
"""


def prepare(settings: Settings) -> Path:
    """Makes the instance's folder and its ``dagster.yaml`` where there is none; returns the folder."""
    folder = settings.dagster_home
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        config.write_text(_CONFIG)
    return folder


if __name__ == "__main__":
    print(prepare(load_settings()))
