"""Prepares the home's Dagster instance: ``python -m orchestration.instance`` prints its folder (``DAGSTER_HOME``).

Runs, events and schedules are kept in SQLite in that folder, or in PostgreSQL where ``REPLENISH_DAGSTER_POSTGRES_HOST``
names a server: SQLite locks its file for every writer, so it serves one machine and one run at a time.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from warehouse.errors import ReplenishError, SettingsError
from warehouse.object_store import split_uri
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

_PASSWORD = "REPLENISH_DAGSTER_POSTGRES_PASSWORD"


def prepare(settings: Settings) -> Path:
    """Makes the instance's folder and its ``dagster.yaml`` where there is none; returns the folder.

    Raises:
        SettingsError: the password is not in the environment, where Dagster reads it; or the settings name another
            place for runs or for what they print than the ``dagster.yaml`` that is there.
    """
    _check_password(settings)
    folder = settings.dagster_home
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    wanted = _places(settings)
    if not config.exists():
        config.write_text(_CONFIG + (yaml.safe_dump(wanted, sort_keys=False) if wanted else ""))
        return folder
    written = yaml.safe_load(config.read_text()) or {}
    for part, value in wanted.items():
        if written.get(part) != value:
            raise SettingsError(
                f"{config} has another {part} than the settings lead to: move it away to have it written anew, or "
                f"unset REPLENISH_DAGSTER_{'POSTGRES_HOST' if part == 'storage' else 'LOGS_URI'}"
            )
    return folder


def _places(settings: Settings) -> dict[str, Any]:
    """The parts of ``dagster.yaml`` that say where things are kept; none of them means the folder itself."""
    places: dict[str, Any] = {}
    if settings.dagster_postgres_host:
        database = {
            # Said, because SQLAlchemy 2.1 takes another driver by default than dagster-postgres is made for.
            "scheme": "postgresql+psycopg2",
            "hostname": settings.dagster_postgres_host,
            "port": settings.dagster_postgres_port,
            "db_name": settings.dagster_postgres_db,
            "username": settings.dagster_postgres_user,
            # By reference: the file says where the password is, not what it is.
            "password": {"env": _PASSWORD},
        }
        places["storage"] = {"postgres": {"postgres_db": database}}
    if settings.dagster_logs_uri:
        bucket, prefix = split_uri(settings.dagster_logs_uri)
        target = {"bucket": bucket, "prefix": prefix or "dagster"}
        if settings.s3_endpoint:
            target["endpoint_url"] = settings.s3_endpoint
        logs = {"module": "dagster_aws.s3.compute_log_manager", "class": "S3ComputeLogManager", "config": target}
        places["compute_logs"] = logs
    return places


def _check_password(settings: Settings) -> None:
    if settings.dagster_postgres_host and not os.environ.get(_PASSWORD):
        raise SettingsError(
            f"{_PASSWORD} is not in the environment, which REPLENISH_DAGSTER_POSTGRES_HOST needs: Dagster reads it "
            "there, not in settings.env"
        )


if __name__ == "__main__":
    try:
        print(prepare(load_settings()))
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
