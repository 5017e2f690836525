"""The demo: a year of real grocery purchases, replayed month by month (``make demo``).

Lands the Complete Journey data of 2017, builds the history of January to August in one run and publishes lists, then
lands and runs September to December one month at a time, publishing after each. A second run finds every month done
and changes nothing.
"""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from assets.factory import asset_key
from jobs.backtest import render_table
from jobs.cli import exit_on_error
from jobs.land_complete_journey import land
from jobs.scorecard import scorecard_rows
from orchestration.run import home_instance, run_months
from warehouse.contracts.serving import SUBSCRIBE_SAVE_LISTS
from warehouse.lake import open_lake
from warehouse.months import month_range
from warehouse.serving.store import ServingStore, open_store
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

SEED = month_range("2017-01", "2017-08")
REPLAY = month_range("2017-09", "2017-12")
BUSINESS_TZ = "America/New_York"
"""The shops' time zone: in it the data's weeks fit exactly (docs/data.md)."""
_LINES_SHOWN = 8


def main() -> int:
    """Runs the demo; returns the exit status."""
    with exit_on_error():
        settings = _settings()
        with home_instance() as instance:
            done = instance.get_materialized_partitions(asset_key(SUBSCRIBE_SAVE_LISTS))
            steps = [step for step in [SEED, *[[month] for month in REPLAY]] if step[-1] not in done]
            if not steps:
                print(f"Nothing to do: lists are published up to {REPLAY[-1]}.\n")
                _show_list(settings)
                return 0
            if not _run_steps(settings, instance, steps):
                return 1
        _show_scorecard(settings)
        _show_list(settings)
        return 0


def _settings() -> Settings:
    """The settings, after the demo's own were put where the UI, the API and hand-run jobs read them too."""
    home = load_settings().home
    home.mkdir(parents=True, exist_ok=True)
    defaults = home / "settings.env"
    if not defaults.exists():
        lines = [f"REPLENISH_BUSINESS_TZ={BUSINESS_TZ}", f"REPLENISH_LAST_MONTH={REPLAY[-1]}"]
        defaults.write_text("\n".join(["# Settings of this home; environment variables win.", *lines, ""]))
    return load_settings()


def _run_steps(settings: Settings, instance: dg.DagsterInstance, steps: Sequence[Sequence[str]]) -> bool:
    with ThreadPoolExecutor(1) as pool:
        # The engine starts while the first files are written.
        engine = pool.submit(start_session, settings)
        for months in steps:
            print(land(settings, months).line(), flush=True)
            engine.result()
            if not run_months(instance, months, single_run=len(months) > 1):
                return False
    return True


def _show_scorecard(settings: Settings) -> None:
    print("\nLists judged by what was bought in the month after they were decided (mean over households):\n")
    lake = open_lake(start_session(settings), settings)
    print(render_table(scorecard_rows(lake, REPLAY)))


def _show_list(settings: Settings) -> None:
    store = open_store(settings.serving_store, settings.dynamodb_endpoint)
    live = store.live()
    if live is None:
        return
    body = _example(store)
    print(f"\nLive: {live.version}, {live.customers:,} lists. One of them, household {body['customer_id']}:\n")
    for item in body["items"][:_LINES_SHOWN]:
        print(f"  {item['rank']:>2}  {item['quantity']} × {item['name']}, every {item['cadence_days']} days")
        print(f"      {item['reason']}")
        if item["alternates"]:
            print(f"      or: {'; '.join(other['name'] for other in item['alternates'])}")
    print(f"      … {len(body['items'])} lines in all\n")
    print("Next:  make ui    the Dagster UI at http://127.0.0.1:3000")
    print("       make api   the lookup API at http://127.0.0.1:8000/docs")
    print(f"       curl http://127.0.0.1:8000/v1/customers/{body['customer_id']}/subscribe-save")


def _example(store: ServingStore) -> dict:
    """The list of the first household that has a long one; the data's households are numbered from 1."""
    bodies = (json.loads(body) for number in range(1, 2501) if (body := store.get(str(number))))
    return next(body for body in bodies if len(body["items"]) >= _LINES_SHOWN)


if __name__ == "__main__":
    sys.exit(main())
