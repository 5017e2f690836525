"""A small slice of the real data, from landing files through Dagster and every store to a real HTTP server.

60 households and four months: three as one history run, the fourth by itself, with the definitions that the UI loads.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import httpx
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from assets.factory import asset_key
from jobs import (
    candidates,
    list_decisions,
    list_requests,
    publish,
    ranker_examples,
    rankers,
    replenishment_state,
    scorecard,
)
from jobs.backtest import DISCOVERY, METHODS, POPULAR_NEW, PRICED, backtest
from jobs.champion import MODEL, POLICY, Champion, choose_champion
from jobs.demo_figures import gather
from jobs.demo_page import write_page
from jobs.land_complete_journey import land
from jobs.llm_estimate import estimate
from jobs.publish import list_lines
from jobs.scorecard import scorecard_rows
from orchestration.demo_report import show_month, table_facts
from orchestration.run import run_months
from orchestration.sensors import late_rows, stale_months
from warehouse.contracts import TABLES, gold, serving, silver
from warehouse.contracts.bronze import LANDING_FILES, ORDERS_TABLE, QUARANTINE
from warehouse.contracts.table import arrow_schema
from warehouse.errors import PermanentError
from warehouse.lake import Lake
from warehouse.llm.stand_in_process import running
from warehouse.serving.store import open_store
from warehouse.settings import Settings, load_settings

MONTHS = ["2017-01", "2017-02", "2017-03", "2017-04"]
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("end-to-end")


@pytest.fixture(scope="module")
def overrides(home) -> dict[str, str]:
    return {
        "home": str(home),
        "business_tz": "America/New_York",
        "copurchase_min_baskets": "2",
        "copurchase_min_pair_baskets": "2",
    }


@pytest.fixture(scope="module")
def platform_settings(overrides) -> Settings:
    return load_settings(**overrides)


@pytest.fixture(scope="module")
def ready_before(home):
    """What ``/readyz`` says before anything was published."""
    with _server(home) as client:
        return client.get("/readyz")


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def lake(spark, platform_settings, overrides, ready_before, instance) -> Lake:
    land(platform_settings, MONTHS[:3], households=60)
    assert run_months(instance, MONTHS[:3], single_run=True, overrides=overrides)
    land(platform_settings, MONTHS[3:], households=60)
    assert run_months(instance, MONTHS[3:], single_run=False, overrides=overrides)
    return Lake(spark, platform_settings.lake)


class _server:
    """The lookup API as users start it, on a free port, until the ``with`` ends."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "REPLENISH_HOME": str(home)}

    def __enter__(self) -> httpx.Client:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "warehouse.serving.api", "--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, env=self.environment, stdout=subprocess.DEVNULL)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.client.get("/healthz")
                return self.client
            except httpx.TransportError:
                time.sleep(0.1)
        self.__exit__()
        raise AssertionError("the API did not start within a minute")

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(timeout=20)


def test_not_ready_before_a_publish(ready_before):
    assert ready_before.status_code == 503
    assert ready_before.headers["content-type"].startswith("application/problem+json")


def test_every_row_that_landed_is_accounted_for(lake):
    files = lake.read(LANDING_FILES).where("dataset = 'orders'")
    rows_in, kept = files.agg(F.sum("rows_in"), F.sum("rows_kept")).first()
    refused = lake.read(QUARANTINE).where("dataset = 'orders' AND stage = 'bronze'").agg(F.sum("rows")).first()[0] or 0
    late = lake.read(QUARANTINE).where("dataset = 'orders' AND stage = 'silver'").count()
    assert rows_in == kept + refused
    assert kept == lake.read(ORDERS_TABLE).count() == lake.read(silver.ORDER_LINES).count() + late
    assert refused > 0, "the data has lines of no units"


def test_the_state_month_by_month_is_the_history_in_one_pass(lake):
    bought = lake.read(silver.ORDER_LINES).where("quantity > 0")
    days = bought.groupBy("customer_id", "product_id").agg(F.count_distinct("ordered_date").alias("days"))
    state = lake.read(gold.REPLENISHMENT_STATE, ["2017-04"])
    both = state.join(days, ["customer_id", "product_id"], "full_outer")
    assert both.where("purchase_days IS DISTINCT FROM days").count() == 0


def test_lists_are_served_as_they_were_published(lake, home, platform_settings):
    published = lake.read(serving.SUBSCRIBE_SAVE_LISTS)
    live = open_store(platform_settings.serving_store).live()
    lines = published.where(F.col("version") == live.version).orderBy("customer_id", "rank").collect()
    assert live.month == "2017-04"
    assert published.select("version").distinct().count() == 2
    customers = sorted({line.customer_id for line in lines})
    assert len(customers) > 40
    with _server(home) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/version").json()["version"] == live.version
        answer = client.get(f"/v1/customers/{customers[0]}/subscribe-save")
        assert (answer.status_code, answer.headers["etag"]) == (200, f'"{live.version}"')
        own = [line for line in lines if line.customer_id == customers[0]]
        wanted = ("rank", "product_id", "quantity", "reason", "need")
        served = [tuple(item[name] for name in wanted) for item in answer.json()["items"]]
        assert served == [tuple(line[name] for name in wanted) for line in own]
        named = [[other["name"] for other in item["alternates"]] for item in answer.json()["items"]]
        assert named == [[other.name for other in line.alternates] for line in own]
        batch = client.post("/v1/subscribe-save:batch", json={"customer_ids": [*customers, "nobody"]}).json()
        assert (len(batch["lists"]), batch["missing"]) == (len(customers), ["nobody"])
        unknown = client.get("/v1/customers/nobody/subscribe-save")
        assert (unknown.status_code, unknown.json()["status"]) == (404, 404)


def test_the_demo_shows_what_was_published_and_bought(lake, platform_settings, instance, tmp_path, capsys):
    store = open_store(platform_settings.serving_store)
    live, first = store.live(), store.versions()[-1]
    dropped = table_facts(instance, "2017-04")
    figures = gather(lake, platform_settings, store, MONTHS, dropped)

    customer = figures.household.customer_id
    served = json.loads(store.get(customer))["items"]
    assert [line["product_id"] for line in figures.household.lines] == [item["product_id"] for item in served]
    history = lake.read(silver.ORDER_LINES).where(F.col("customer_id") == customer)
    days = history.where("quantity > 0").select("product_id", "ordered_date").distinct().collect()
    for line in figures.household.lines:
        own = sorted(row.ordered_date for row in days if row.product_id == line["product_id"])
        assert figures.household.bought[line["product_id"]] == own

    lines = lake.read(serving.SUBSCRIBE_SAVE_LISTS).where(F.col("version") == first.version)
    bought = lake.read(silver.ORDER_LINES, ["2017-04"]).where("quantity > 0").select("customer_id", "product_id")
    found = lines.join(bought.distinct(), ["customer_id", "product_id"], "left_semi").count()
    assert figures.calibration.months == ["2017-04"]
    assert figures.calibration.lines == first.lines
    assert round(sum(part.pairs * part.bought for part in figures.calibration.products)) == found
    needs = sum(part.pairs * part.bought for part in figures.calibration.needs)
    assert needs >= found  # who buys the product buys for the need

    assert [score.month for score in figures.scores] == ["2017-04"]
    landed, kept, pairs, offered, lists, published = figures.flow
    assert landed.rows - kept.rows == sum(kept.dropped.values()) > 0
    assert (kept.rows, pairs.rows, offered.rows) == tuple(
        lake.read(table, ["2017-04"]).count()
        for table in (silver.ORDER_LINES, gold.REPLENISHMENT_STATE, gold.CANDIDATES)
    )
    assert pairs.rows - sum(offered.dropped.values()) == offered.rows
    assert (lists.rows, published.rows) == (live.customers, live.lines)

    write_page(tmp_path / "demo.html", lake, platform_settings, MONTHS, dropped)
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert f"To household {customer}" in page
    assert "Lists for May 2017" in page
    show_month(lake, store, "2017-04", first, {"customer_id": customer, "items": []})
    printed = capsys.readouterr().out
    assert f"{first.version} → {live.version}" in printed
    assert f"Household {customer}:" in printed
    assert "| 2017-04 | published |" in printed


def test_every_line_rests_on_evidence_and_goods_only(lake):
    live = lake.read(serving.SUBSCRIBE_SAVE_LISTS).where("month = '2017-04'")
    products = lake.read(silver.PRODUCTS_TABLE).select("product_id", "is_subscribable")
    assert live.join(products, "product_id").where("NOT is_subscribable").count() == 0
    codes = {row.reason_code for row in live.select("reason_code").distinct().collect()}
    assert {"due", "high_frequency"} & codes
    assert live.groupBy("customer_id", "need").count().where("count > 1").count() == 0, "a line answers a need"
    others = live.select("customer_id", "need_probability", "probability", F.inline("alternates").alias(*"abcd"))
    assert others.count() > 0
    assert others.where("c > probability OR probability > need_probability + 0.001").count() == 0
    candidates_of_month = lake.read(gold.CANDIDATES, ["2017-04"])
    assert live.join(candidates_of_month, ["customer_id", "product_id"], "left_anti").count() == 0
    sources = candidates_of_month.select("is_due", "is_high_frequency", "is_similar_in_history", "is_copurchased")
    assert all(sources.where(flag).count() > 0 for flag in sources.columns)


def _rows(frame) -> list[str]:
    return sorted(str(row) for row in frame.collect())


def test_a_month_run_again_gives_the_same_rows_and_the_same_version(lake, platform_settings):
    tables = [gold.REPLENISHMENT_STATE, gold.RANKER_EXAMPLES, gold.RANKERS, gold.CANDIDATES]
    tables += [gold.LIST_REQUESTS, gold.LIST_DECISIONS]
    before = [_rows(lake.read(table, ["2017-04"])) for table in tables]
    version = open_store(platform_settings.serving_store).live().version
    for job in (replenishment_state, ranker_examples, rankers, candidates, list_requests):
        job.run(lake, platform_settings, ["2017-04"])
    decided = list_decisions.run(lake, platform_settings, ["2017-04"])
    assert decided.details["asked"] == 0, "unchanged requests are not asked again"
    assert decided.details["reused"] == decided.row_count
    report = publish.run(lake, platform_settings, ["2017-04"])
    assert [_rows(lake.read(table, ["2017-04"])) for table in tables] == before
    assert (report.details["outcome"], report.details["live_version"]) == ("unchanged", version)


def test_an_older_month_does_not_replace_the_live_lists(lake, platform_settings):
    report = publish.run(lake, platform_settings, ["2017-03"])
    assert report.details["outcome"] == "superseded"
    assert open_store(platform_settings.serving_store).live().month == "2017-04"


def test_the_backtest_judges_all_methods_for_the_same_customers(lake, platform_settings):
    results = {result["method"]: result for result in backtest(lake, platform_settings, ["2017-04"])}
    assert set(results) == set(METHODS) - {MODEL, POLICY}, "no model was asked"
    assert len({result["customers"] for result in results.values()}) == 1
    new = [results.pop(method) for method in (DISCOVERY, POPULAR_NEW)]
    assert {result["repeat_recall@10"] for result in new} == {0.0}, "nothing that was bought before"
    priced = results.pop(PRICED)
    assert priced["recall@10"] == pytest.approx(results["ranker"]["recall@10"]), "discoveries come last"
    for result in results.values():
        assert 0 < result["recall@10"] < 1
        assert 0 < result["precision@10"] < 1
        assert result["recall@20"] >= result["recall@10"]
        assert 0 < result["need_recall@10"] < 1
    assert results["ranker"]["recall@10_vs_personal_top"] == pytest.approx(
        results["ranker"]["recall@10"] - results["personal_top"]["recall@10"]
    )
    scored = lake.read(gold.SCORECARD, ["2017-04"]).where("metric = 'recall@10'").collect()
    assert {row.method: row.value for row in scored} == {
        method: pytest.approx(results[method]["recall@10"])
        for method in ("published", "personal_top", "decayed_frequency")
    }
    told = lake.read(gold.SCORECARD, ["2017-04"]).where("method = 'published'").collect()
    figures = {row.metric: row.value for row in told}
    assert figures["recall@10"] <= figures["candidate_recall"] <= 1, "no list finds more than was offered"
    assert figures["monthly_units_error"] > 0
    assert {row["method"]: row["recall@10"] for row in scorecard_rows(lake, ["2017-04"])} == {
        row.method: row.value for row in scored
    }


def test_a_ranker_scores_the_candidates(lake):
    trained = lake.read(gold.RANKERS, ["2017-04"]).orderBy("target").collect()
    assert [ranker.target for ranker in trained] == ["need", "product"]
    ranker = trained[1]
    assert ranker.training_months == ["2017-02", "2017-03", "2017-04"], "the first month has none before it"
    scored = lake.read(gold.CANDIDATES, ["2017-04"])
    assert scored.where("score <= 0 OR score >= 1").count() == 0
    assert scored.where("abs(score - probability) > 1e-6").count() > 0, "calibrated"


def test_an_unknown_method_is_named(lake, platform_settings):
    with pytest.raises(PermanentError, match="crystal_ball"):
        backtest(lake, platform_settings, ["2017-04"], ["crystal_ball"])


def test_dagster_knows_what_was_done(lake, instance):
    assert instance.get_materialized_partitions(asset_key(gold.REPLENISHMENT_STATE)) == set(MONTHS)
    assert instance.get_materialized_partitions(asset_key(serving.SUBSCRIBE_SAVE_LISTS)) == set(MONTHS[2:])
    event = instance.get_latest_materialization_event(asset_key(silver.ORDER_LINES))
    metadata = event.asset_materialization.metadata
    assert (
        metadata["dagster/partition_row_count"].value == lake.count_by_month(silver.ORDER_LINES, ["2017-04"])["2017-04"]
    )


def test_every_table_was_written(lake):
    # No list carries discoveries unless a setting says so, and then nothing looks for them.
    optional = {"silver/interactions", "gold/discoveries"}
    empty = [table.name for table in TABLES.values() if table.name not in optional and lake.read(table).isEmpty()]
    assert empty == []


def test_late_rows_make_their_month_and_all_later_ones_stale():
    computed = {"2017-02": 12, "2017-03": 13, "2017-04": 14}
    assert stale_months({"2017-03": 20, "2018-01": 20}, computed) == ["2017-03", "2017-04"]
    assert stale_months({"2017-03": 11}, computed) == [], "rows that came before the month was computed are in it"
    assert stale_months({"2018-01": 20}, computed) == []
    assert stale_months({}, computed) == []


def test_the_late_rows_sensor_asks_for_the_months_that_got_rows_after_they_were_computed(lake, instance):
    def tick(cursor):
        return late_rows(dg.build_sensor_context(instance=instance, cursor=cursor))

    first = tick(None)
    assert isinstance(first, dg.SkipReason), "the runs above ingested before they computed"
    event = dg.AssetMaterialization(asset_key(ORDERS_TABLE), metadata={"months": ["2017-03"]})
    instance.report_runless_asset_event(event)
    second = tick("0")
    assert [request.partition_key for request in second.run_requests] == ["2017-03", "2017-04"]
    assert isinstance(tick(second.cursor), dg.SkipReason)


def test_a_failed_blocking_check_stops_the_month_and_publishes_nothing(lake, platform_settings, instance, overrides):
    live = open_store(platform_settings.serving_store).live()
    before = _newest_order_lines(instance)
    entry = lake.collect(LANDING_FILES).slice(0, 1).to_pylist()[0]
    lost = entry | {"rows_in": entry["rows_in"] + 1, "file_id": "lost", "dataset": "orders"}
    schema = arrow_schema(LANDING_FILES)
    lake.append(LANDING_FILES, pa.Table.from_pylist([lost], schema=schema))
    try:
        assert not run_months(instance, ["2017-04"], single_run=False, overrides=overrides)
    finally:
        lake.replace_where(LANDING_FILES, schema.empty_table(), "file_id = 'lost'")
    assert _newest_order_lines(instance) == before
    assert open_store(platform_settings.serving_store).live() == live


def _newest_order_lines(instance) -> int:
    return instance.fetch_materializations(asset_key(silver.ORDER_LINES), limit=1).records[0].storage_id


def test_requests_hold_nothing_that_names_a_customer_or_a_product(lake, platform_settings):
    products = {row.product_id for row in lake.read(silver.PRODUCTS_TABLE).select("product_id").collect()}
    rows = {row.custom_id: row for row in lake.read(gold.LIST_REQUESTS, ["2017-04"]).collect()}
    folder = Path(platform_settings.lake) / "llm" / "2017-04" / "requests"
    lines = [json.loads(line) for shard in folder.glob("*.jsonl") for line in shard.read_text().splitlines()]
    assert {line["custom_id"] for line in lines} == rows.keys()
    for line in lines:
        content = json.loads(line["body"]["messages"][-1]["content"])
        assert content.keys() == {"month", "limits", "candidates"}
        assert content["limits"].keys() <= {"list_size", "max_quantity", "cadences_days", "diets", "monthly_budget_usd"}
        assert not any(part.endswith("_id") for candidate in content["candidates"] for part in candidate)
        words = set(re.findall(r"\w+", json.dumps(line)))
        assert not words & products
        assert line["custom_id"].split("-")[0] != rows[line["custom_id"]].customer_id
        assert "@" not in json.dumps(line)


def test_a_model_is_asked_and_judged_and_must_earn_its_place(lake, overrides):
    with running() as address:
        asking = load_settings(**overrides, llm=f"openai:{address}/v1#stand-in", llm_output_usd_per_million="2.0")
        list_requests.run(lake, asking, ["2017-03"])
        before = estimate(lake, asking, ["2017-03"])
        first = list_decisions.run(lake, asking, ["2017-03"])
        again = list_decisions.run(lake, asking, ["2017-03"])
    assert (first.details["asked"], first.details["fallbacks"]) == (first.row_count, {})
    assert before.row_count == first.row_count
    assert before.details["prompt_tokens"] == pytest.approx(first.details["prompt_tokens"], rel=0.1)
    assert before.details["cost_usd"] > 0
    assert estimate(lake, asking, ["2017-03"]).row_count == 0, "all is answered"
    assert (again.details["asked"], again.details["cache_hit_share"]) == (0, 1.0)
    decisions = lake.read(gold.LIST_DECISIONS, ["2017-03"])
    assert decisions.where("decided_by = 'openai' AND policy_items IS NOT NULL AND cost_usd > 0").count() > 40
    scorecard.run(lake, asking, ["2017-04"])
    judged = {(row["method"]): row for row in scorecard_rows(lake, ["2017-04"])}
    assert judged["published"]["recall@10"] == pytest.approx(judged["policy"]["recall@10"]), "not yet earned"
    assert judged["model"]["cost_usd_per_thousand"] > 0
    advantage = judged["model"]["recall@10"] - judged["policy"]["recall@10"]
    assert judged["model"]["recall@10_vs_policy"] == pytest.approx(advantage)
    for margin, champion in ((advantage - 0.001, MODEL), (advantage + 0.001, POLICY)):
        settings = asking.model_copy(update={"champion_margin": margin})
        assert choose_champion(lake, settings, "2017-04").name == champion
    by_model = list_lines(lake, asking, "2017-03", Champion(MODEL, ""))
    assert by_model.where("reason LIKE '%about every%'").count() == 0, "the policy's sentences are not the stand-in's"
