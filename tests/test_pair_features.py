"""The ranker's features, worked by hand on a tiny state; and that none of them sees a later purchase."""

from datetime import date
from decimal import Decimal

import pytest
from pyspark.sql import functions as F

from transforms.frequency import FrequencyParams, monthly_frequency
from transforms.needs import as_needs
from transforms.pair_features import feature_columns, label_examples, pair_features
from transforms.replenishment import StateParams, advance_state
from warehouse.contracts.features import FEATURE_NAMES, FEATURES
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.table import spark_schema

LINES = (
    "month string, customer_id string, product_id string, order_id string, quantity int, "
    "line_amount_usd decimal(18,2), ordered_date date"
)
TYPES = {"milk": "Milk", "skim": "Milk", "soap": "Soap"}


def line(customer, product, day, units=1):
    when = date.fromisoformat(day)
    return (day[:7], customer, product, f"{customer}{product}{day}", units, Decimal(1), when)


BOUGHT = [
    line("anna", "milk", "2017-04-01"),
    line("anna", "milk", "2017-05-01", 2),
    line("anna", "milk", "2017-05-16", 3),
    line("anna", "skim", "2017-05-31"),
    line("anna", "soap", "2017-04-01"),
    line("bob", "milk", "2017-05-16"),
]


def lines_of(spark, lines):
    types = spark.createDataFrame(list(TYPES.items()), "product_id string, need string")
    return spark.createDataFrame(lines, LINES).join(types, "product_id")


def state_of(spark, lines, months):
    state = spark.createDataFrame([], spark_schema(REPLENISHMENT_STATE))
    frame = lines_of(spark, lines)
    for month in months:
        frequency = monthly_frequency(frame.where(F.col("month") == month), FrequencyParams())
        before = state.drop("month", "mean_gap_days", "units_per_order")
        state = advance_state(before, frequency.drop("month", "is_high_frequency"), month, StateParams())
    types = spark.createDataFrame(list(TYPES.items()), "product_id string, need string")
    return state.join(types, "product_id")


def features_of(spark, lines=BOUGHT, months=("2017-04", "2017-05")):
    rows = pair_features(state_of(spark, lines, months)).collect()
    return {(row.customer_id, row.product_id): row for row in rows}


def all_features(spark):
    """Of the pairs bought by the end of May."""
    return pair_features(state_of(spark, BOUGHT, ("2017-04", "2017-05")))


@pytest.fixture(scope="module")
def features(spark):
    return features_of(spark)


def test_a_pair_s_own_figures(features):
    row = features["anna", "milk"]
    weights = [2 ** (-60 / 45), 2 ** (-30 / 45), 2 ** (-15 / 45)]
    assert row.pair_purchases_45d == pytest.approx(sum(weights))
    assert row.pair_purchases_15d == pytest.approx(2**-4 + 2**-2 + 2**-1)
    assert (row.pair_purchase_days, row.pair_months_in_6, row.pair_last_units) == (3, 2, 3)
    assert (row.pair_since_last_days, row.pair_since_first_days) == (15, 60)


def test_a_pair_s_rhythm(features):
    row = features["anna", "milk"]
    assert row.pair_bought_this_month == 1
    assert features["anna", "soap"].pair_bought_this_month == 0
    assert (row.pair_units_per_order, row.pair_span_days) == (2, 45)
    assert row.pair_purchases_a_month == pytest.approx(3 * 30 / 61)


def test_a_pair_has_a_share_of_its_need(features):
    milk, skim = features["anna", "milk"], features["anna", "skim"]
    assert milk.pair_share_of_need_45d == pytest.approx(milk.pair_purchases_45d / (milk.pair_purchases_45d + 1))
    assert milk.pair_share_of_need_45d + skim.pair_share_of_need_45d == pytest.approx(1)
    assert skim.need_favourite_purchases_45d == milk.pair_purchases_45d


def test_a_need_is_bought_for_on_days(features):
    assert features["anna", "skim"].need_purchase_days == 4
    assert features["anna", "soap"].need_purchase_days == 1


def test_a_need_holds_all_products_of_the_type(features):
    row = features["anna", "milk"]
    assert row.need_purchases_15d == pytest.approx(row.pair_purchases_15d + 1)
    assert (row.need_since_last_days, row.need_products) == (0, 2)
    assert features["anna", "soap"].need_products == 1


def test_a_product_holds_all_customers(features):
    row = features["bob", "milk"]
    assert row.product_buyers == 2
    assert row.product_repeat_share == pytest.approx(1 / 2)
    assert row.product_purchases_15d == pytest.approx(features["anna", "milk"].pair_purchases_15d + 2**-1)
    assert row.product_newcomer_share == pytest.approx(1 / 2)
    assert row.product_share_of_need == pytest.approx(row.product_purchases_45d / (row.product_purchases_45d + 1))
    assert row.product_trend == pytest.approx(row.product_purchases_15d / row.product_purchases_45d)
    assert row.product_gap_days == pytest.approx((45 + 5 * row.type_gap_days) / (2 + 5))


def test_the_gap_is_shrunk_and_missing_gaps_are_told(features):
    assert features["anna", "soap"].pair_gap_days is None
    assert features["anna", "soap"].pair_gap_share > features["anna", "milk"].pair_gap_share > 0


def test_of_each_customer_the_pairs_bought_most_lately_are_kept(spark, features):
    rows = pair_features(state_of(spark, BOUGHT, ("2017-04", "2017-05")), most=2).collect()
    found = {(row.customer_id, row.product_id): row for row in rows}
    assert set(found) == {("anna", "milk"), ("anna", "skim"), ("bob", "milk")}
    kept = found["anna", "milk"]
    assert kept.product_purchases_45d == features["anna", "milk"].product_purchases_45d, "products hold all customers"
    (one,) = pair_features(state_of(spark, BOUGHT[:4], ("2017-04", "2017-05")), most=1).collect()
    assert one.need_products == 2, "a need holds all its products"


def test_only_what_the_contract_allows_is_null(spark):
    frame = all_features(spark).select(*feature_columns())
    nulls = frame.agg(*[F.count_if(F.col(name).isNull()).alias(name) for name in FEATURE_NAMES]).first()
    assert [feature.name for feature in FEATURES if nulls[feature.name] and not feature.nullable] == []


def test_no_feature_sees_the_month_after(spark, features):
    later = [
        line("anna", "milk", "2017-06-02", 9),
        line("bob", "soap", "2017-06-03"),
        line("eve", "milk", "2017-06-04"),
    ]
    again = features_of(spark, BOUGHT + later)
    assert {key: row.asDict() for key, row in again.items()} == {key: row.asDict() for key, row in features.items()}


def test_examples_are_labelled_by_the_month_after_and_thinned_with_weights(spark):
    frame = all_features(spark)
    june = [
        line("anna", "milk", "2017-06-02"),
        line("anna", "skim", "2017-06-02", -1),
        line("eve", "milk", "2017-06-02"),
    ]
    frequency = monthly_frequency(lines_of(spark, june), FrequencyParams()).where("orders > 0")
    everything = label_examples(frame, frequency, 1.0, seed=1).collect()
    labels = {(row.customer_id, row.product_id): row.is_bought for row in everything}
    assert labels == {pair: pair == ("anna", "milk") for pair in labels}, "a return is no purchase"
    assert len(labels) == 4, "who bought for the first time has no features"
    nothing = label_examples(frame, frequency, 1e-9, seed=1).collect()
    assert [(row.product_id, row.weight) for row in nothing] == [("milk", 1.0)]
    assert {row.weight for row in everything} == {1.0}


def test_needs_have_the_features_of_products(spark):
    state = state_of(spark, BOUGHT, ("2017-04", "2017-05")).withColumn("category", F.lit("Household"))
    rows = {(row.customer_id, row.product_id): row for row in pair_features(as_needs(state)).collect()}
    assert set(rows) == {("anna", "Milk"), ("anna", "Soap"), ("bob", "Milk")}
    milk = rows["anna", "Milk"]
    assert (milk.pair_purchase_days, milk.pair_months_in_6, milk.pair_last_units) == (4, 2, 1)
    assert (milk.pair_since_last_days, milk.pair_since_first_days) == (0, 60)
    assert milk.pair_gap_days == pytest.approx(60 / 3)
    assert (milk.need_products, milk.product_buyers) == (2, 2)
    assert rows["anna", "Soap"].pair_gap_days is None


def test_two_products_bought_on_one_day_are_one_purchase_of_their_need(spark):
    bought = [line("anna", product, day) for product in ("milk", "skim") for day in ("2017-05-01", "2017-05-31")]
    state = state_of(spark, bought, ("2017-05",)).withColumn("category", F.lit("Household"))
    row = as_needs(state).first()
    assert (row.purchase_days, row.gap_count, row.mean_gap_days) == (2, 1, 30)
    assert row.decayed_purchases_15d == pytest.approx(2**-2 + 1)


def test_a_type_with_few_gaps_takes_the_mean_of_all(features):
    assert features["anna", "milk"].type_gap_days == features["anna", "soap"].type_gap_days == pytest.approx(45 / 2)
