"""The ranker on made-up examples whose true probabilities are known, and its training as a job."""

from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from jobs import ranker_examples, rankers
from jobs.candidates import said_by
from transforms.probability_metrics import probability_metrics, recall_at_precision, reliability
from transforms.ranking import OF_TARGET, Ranker, RankerParams, calibrate, train
from warehouse.contracts.features import FEATURE_NAMES
from warehouse.contracts.gold import PURCHASE_FREQUENCY, RANKER_EXAMPLES, RANKERS, REPLENISHMENT_STATE
from warehouse.errors import MissingMonth
from warehouse.lake import Lake

PARAMS = RankerParams(rounds=40, min_examples_a_leaf=50)
COUNT = 6000


def examples(seed, share=1.0):
    """Features of which the first alone matters: bought with probability ``first ** 2``."""
    rng = np.random.default_rng(seed)
    features = rng.random((COUNT, len(FEATURE_NAMES))).astype(np.float32)
    truth = features[:, 0].astype(np.float64) ** 2
    is_bought = rng.random(COUNT) < truth
    kept = is_bought | (rng.random(COUNT) < share)
    weight = np.where(is_bought, 1.0, 1.0 / share)
    return features[kept], is_bought[kept], weight[kept], truth[kept]


@pytest.fixture(scope="module")
def ranker():
    features, is_bought, weight, _ = examples(1, share=0.5)
    return train(features, is_bought, weight, PARAMS)


def test_it_finds_what_matters_and_thinned_negatives_do_not_raise_the_probability(ranker):
    features, is_bought, weight, truth = examples(2)
    raw = ranker.raw(features)
    assert np.corrcoef(raw, truth)[0, 1] > 0.95
    assert abs(raw.mean() - truth.mean()) < 0.03
    assert probability_metrics(raw, is_bought, weight)["auc"] > 0.8


def test_the_same_examples_give_the_same_model(ranker):
    features, is_bought, weight, _ = examples(1, share=0.5)
    assert train(features, is_bought, weight, PARAMS).model == ranker.model


def test_a_missing_value_is_no_error(ranker):
    features, *_ = examples(3)
    features[:, 0] = np.nan
    assert np.isfinite(ranker.raw(features)).all()


def test_tasks_say_what_the_ranker_says(spark, ranker):
    features, *_ = examples(3)
    features[:50, 1] = np.nan
    calibrated = Ranker(ranker.model, slope=0.5, intercept=-1.0)
    columns = {name: pa.array(features[:, place], from_pandas=True) for place, name in enumerate(FEATURE_NAMES)}
    frame = spark.createDataFrame(pa.table({"row": np.arange(len(features)), **columns}))
    said = frame.repartition(3).select("row", said_by(calibrated).alias("said"))
    said = said.orderBy("row").select("said.*").toArrow()
    raw = ranker.raw(features)
    assert said["score"].to_numpy() == pytest.approx(raw)
    assert said["probability"].to_numpy() == pytest.approx(calibrated.calibrated(raw))


def test_calibration_mends_probabilities_and_keeps_their_order(ranker):
    features, _, weight, truth = examples(4)
    # As if twice as much were bought now as in the months learned from.
    now = np.random.default_rng(5).random(len(truth)) < np.minimum(1, 2 * truth)
    calibrated = calibrate(ranker, ranker.raw(features), now, weight)
    features, *_, truth = examples(6)
    raw = calibrated.raw(features)
    probability = calibrated.calibrated(raw)
    assert (np.argsort(probability) == np.argsort(raw)).all()
    assert 0 < probability.min() < probability.max() < 1, "nothing is certain"
    doubled = np.minimum(1, 2 * truth)
    assert np.abs(probability - doubled).mean() < 0.5 * np.abs(raw - doubled).mean()


def test_without_calibration_the_raw_probability_stands(ranker):
    assert ranker.calibrated(np.array([0.25])) == pytest.approx([0.25])


def test_metrics_by_hand():
    probability, is_bought, weight = np.array([0.5, 1.0]), np.array([False, True]), np.array([3.0, 1.0])
    metrics = probability_metrics(probability, is_bought, weight)
    assert metrics["brier"] == pytest.approx(3 * 0.25 / 4)
    assert metrics["auc"] == 1.0
    assert metrics["ece"] == pytest.approx(3 * 0.5 / 4)


def test_reliability_and_what_a_list_can_promise():
    probability = np.array([0.9, 0.8, 0.7, 0.1])
    is_bought = np.array([True, True, False, True])
    least, most = reliability(probability, is_bought, bins=2)
    assert (least.pairs, least.said, least.bought) == (2, pytest.approx(0.4), 0.5)
    assert (most.said, most.bought) == (pytest.approx(0.85), 1.0)
    assert recall_at_precision(probability, is_bought, 1.0) == pytest.approx(2 / 3)
    assert recall_at_precision(probability, is_bought, 0.75) == 1.0
    assert recall_at_precision(probability, np.array([False] * 3 + [True]), 0.5) == 0.0


@pytest.fixture
def lake(spark, settings):
    return Lake(spark, settings.lake)


def row_of(table, **values):
    """A row of the contract: text for text, 1 for numbers, and what is given."""
    defaults = {"string": "x", "date32[day]": date(2017, 5, 10), "bool": False, "decimal128(18, 2)": Decimal(1)}
    defaults["double"] = 1.0
    return {c.name: defaults.get(str(c.type), 1) for c in table.columns} | values


def write(lake, table, rows, months):
    from warehouse.contracts.table import spark_schema

    schema = spark_schema(table)
    frame = lake.spark.createDataFrame([tuple(row[name] for name in table.column_names) for row in rows], schema)
    lake.replace_months(table, frame, months)


def test_a_month_without_enough_purchases_gets_no_ranker(lake, settings):
    known = dict.fromkeys(FEATURE_NAMES, 1.0)
    rows = [row_of(RANKER_EXAMPLES, month="2017-05", target="product", **known, weight=1.0)]
    write(lake, RANKER_EXAMPLES, rows, ["2017-05"])
    report = rankers.run(lake, settings, ["2017-05"])
    assert report.rows == {"2017-05": 0}
    assert {target: "too few" in note for target, note in report.details.items()} == {"product": True, "need": True}
    assert rankers.read_ranker(lake, "2017-05", "product") is None


def test_without_lightgbm_the_forecast_stands_and_the_report_says_what_to_install(lake, settings, monkeypatch):
    monkeypatch.setattr(rankers, "lightgbm_problem", lambda: "LightGBM cannot be loaded; apt install libgomp1")
    report = rankers.run(lake, settings, ["2017-05"])
    assert report.rows == {"2017-05": 0}
    assert "apt install libgomp1" in report.details["product"]


@pytest.fixture
def taught(lake, monkeypatch):
    """Examples of three months, in which ever more is bought; enough to learn from."""
    monkeypatch.setitem(OF_TARGET, "product", RankerParams(rounds=5, min_bought=20))
    months = ("2017-03", "2017-04", "2017-05")
    rows = []
    for month, first_bought in zip(months, (60, 50, 30), strict=True):
        for number in range(100):
            # Nothing is certain: a probability of 0 or 1 has no log-odds to draw a line through.
            features = dict.fromkeys(FEATURE_NAMES, 1.0) | {FEATURE_NAMES[0]: float(number)}
            is_bought = number >= first_bought if number % 9 else number < first_bought
            given = {"month": month, "customer_id": f"c{number}", "is_bought": is_bought, "weight": 1.0}
            rows.append(row_of(RANKER_EXAMPLES, **features, **given, target="product"))
    write(lake, RANKER_EXAMPLES, rows, list(months))


def test_a_ranker_says_what_it_learned_from(lake, settings, taught):
    report = rankers.run(lake, settings, ["2017-05"])
    stored = lake.read(RANKERS, ["2017-05"]).first()
    assert stored.training_months == ["2017-03", "2017-04", "2017-05"]
    assert (stored.examples, report.details["product"]["examples"]) == (300, 300)
    assert stored.importance[0] == pytest.approx(1.0), "nothing else varies"
    assert '"brier"' in stored.metrics
    ranker = rankers.read_ranker(lake, "2017-05", "product")
    assert rankers.read_ranker(lake, "2017-05", "need") is None
    assert (ranker.slope, ranker.intercept) == (stored.slope, stored.intercept) != (1.0, 0.0)


def test_a_ranker_is_calibrated_by_what_became_of_the_one_before(lake, settings, taught):
    def calibration(months):
        rankers.run(lake, settings, months)
        ranker = rankers.read_ranker(lake, "2017-05", "product")
        return ranker.slope, ranker.intercept

    by_one_trained_for_it = calibration(["2017-05"])
    by_the_stored_one = calibration(["2017-04", "2017-05"])
    assert by_the_stored_one == by_one_trained_for_it, "both learned from the same two months"
    # What the calibration rests on is the stored model: with another in its place it comes out differently.
    rankers.run(lake, settings, ["2017-03"])
    stale = [row.asDict() | {"month": "2017-04"} for row in lake.read(RANKERS, ["2017-03"]).collect()]
    write(lake, RANKERS, stale, ["2017-04"])
    assert calibration(["2017-05"]) != by_the_stored_one
    write(lake, RANKERS, [row | {"code_version": "ranker 0, lightgbm 0"} for row in stale], ["2017-04"])
    assert calibration(["2017-05"]) == by_the_stored_one, "a ranker of other code says nothing"


def test_examples_need_the_state_of_the_month_before(lake, settings):
    write(lake, PURCHASE_FREQUENCY, [row_of(PURCHASE_FREQUENCY, month="2017-05")], ["2017-05"])
    with pytest.raises(MissingMonth, match=REPLENISHMENT_STATE.name):
        ranker_examples.run(lake, settings, ["2017-05"])
