"""Purchase frequency and running state: tiny inline frames, figures worked out by hand."""

from datetime import date
from decimal import Decimal
from math import log

import pytest
from pyspark.sql import functions as F

from transforms.frequency import FrequencyParams, monthly_frequency
from transforms.needs import with_needs
from transforms.replenishment import ForecastParams, StateParams, advance_state, forecast
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.table import spark_schema

LINES = (
    "month string, order_id string, customer_id string, product_id string, ordered_date date, quantity int, "
    "line_amount_usd decimal(18,2)"
)
PARAMS = FrequencyParams(high_frequency_min_orders=2, half_life_days=10.0)


def line(order, day, quantity=1, amount=2, customer="c", product="p", month="2017-05"):
    return (month, order, customer, product, date.fromisoformat(day), quantity, Decimal(amount))


def frequency_of(spark, *lines, params=PARAMS):
    return monthly_frequency(spark.createDataFrame(list(lines), LINES).withColumn("need", F.lit("Milk")), params)


def test_counts_gaps_and_weights_within_a_month(spark):
    rows = frequency_of(
        spark, line("a", "2017-05-01"), line("b", "2017-05-11", 3, 6), line("c", "2017-05-31"), line("d", "2017-05-31")
    ).collect()
    assert len(rows) == 1
    row = rows[0]
    assert (row.orders, row.purchase_days, row.units, float(row.spend_usd)) == (4, 3, 6, 12.0)
    assert (row.first_ordered_date, row.last_ordered_date) == (date(2017, 5, 1), date(2017, 5, 31))
    assert (row.gap_count, row.gap_days_sum, row.gap_days_sum_of_squares) == (2, 30, 10**2 + 20**2)
    # Ages at the month's end are 30, 20 and 0 days; a purchase halves every 10.
    assert row.decayed_purchases == pytest.approx(2**-3 + 2**-2 + 1)
    assert row.weighted_gap_count == pytest.approx(2**-2 + 1)
    assert row.weighted_gap_days == pytest.approx(10 * 2**-2 + 20)
    assert row.is_high_frequency


def test_one_order_is_not_high_frequency_and_has_no_gap(spark):
    row = frequency_of(spark, line("a", "2017-05-09")).first()
    assert not row.is_high_frequency
    assert (row.gap_count, row.gap_days_sum, row.weighted_gap_days) == (0, 0, 0.0)


def test_a_return_nets_the_line_it_returns(spark):
    same_order = frequency_of(spark, line("a", "2017-05-01", 2, 4), line("a", "2017-05-01", -2, -4)).first()
    assert (same_order.orders, same_order.units, float(same_order.spend_usd)) == (0, 0, 0.0)
    assert same_order.first_ordered_date is None
    later = frequency_of(spark, line("a", "2017-05-01", 2, 4), line("r", "2017-05-03", -1, -2)).first()
    assert (later.orders, later.purchase_days, later.units, float(later.spend_usd)) == (1, 1, 1, 2.0)
    assert later.last_ordered_date == date(2017, 5, 1)


def advance(spark, previous, frequency, month):
    state = previous.drop("month", "mean_gap_days", "units_per_order")
    return advance_state(state, frequency.drop("month", "is_high_frequency"), month, StateParams(half_life_days=10.0))


def empty_state(spark):
    return spark.createDataFrame([], spark_schema(REPLENISHMENT_STATE))


def test_a_day_is_split_among_the_products_of_its_need(spark):
    rows = frequency_of(
        spark,
        line("a", "2017-05-16"),
        *[line("b", "2017-05-31", product=product) for product in ("p", "q", "r")],
    ).collect()
    shares = {row.product_id: row.need_days for row in rows}
    assert shares == {"p": pytest.approx(4 / 3), "q": pytest.approx(1 / 3), "r": pytest.approx(1 / 3)}
    assert sum(row.need_days_15d for row in rows) == pytest.approx(2**-1 + 1), "two days on which milk was bought"
    returned = frequency_of(spark, line("a", "2017-05-01", -1, -2)).first()
    assert (returned.need_days, returned.need_days_15d) == (0, 0)


def test_state_month_by_month_equals_one_pass_over_all_days(spark):
    may = frequency_of(spark, line("a", "2017-05-01"), line("b", "2017-05-11"))
    june = frequency_of(spark, line("c", "2017-06-10", 2, month="2017-06"))
    july = frequency_of(spark, line("d", "2017-07-30", customer="other", month="2017-07"))
    state = advance(spark, empty_state(spark), may, "2017-05")
    state = advance(spark, state, june, "2017-06")
    state = advance(spark, state, july, "2017-07")
    row = state.where("customer_id = 'c'").first()
    assert (row.orders, row.purchase_days, row.units, row.months_active) == (3, 3, 4, 2)
    assert (row.gap_count, row.gap_days_sum, row.gap_days_sum_of_squares) == (2, 10 + 30, 10**2 + 30**2)
    end = date(2017, 7, 31)
    ages = [(end - day).days for day in (date(2017, 5, 1), date(2017, 5, 11), date(2017, 6, 10))]
    weights = [2 ** (-age / 10) for age in ages]
    assert row.decayed_purchases == pytest.approx(sum(weights))
    assert row.need_days == 3
    assert row.need_days_45d == pytest.approx(sum(2 ** (-age / 45) for age in ages))
    assert row.weighted_gap_count == pytest.approx(weights[1] + weights[2])
    assert row.mean_gap_days == pytest.approx((10 * weights[1] + 30 * weights[2]) / (weights[1] + weights[2]))
    assert row.units_per_order == pytest.approx(4 / 3)
    assert state.count() == 2


def test_silent_pairs_expire_and_returns_alone_make_no_pair(spark):
    old = advance(spark, empty_state(spark), frequency_of(spark, line("a", "2017-05-01")), "2017-05")
    nothing = frequency_of(spark, line("z", "2017-06-01", -1, -1, customer="x", month="2017-06"))
    params = StateParams(half_life_days=10.0, expiry_months=1)
    later = advance_state(
        old.drop("month", "mean_gap_days", "units_per_order"),
        nothing.drop("month", "is_high_frequency"),
        "2017-06",
        params,
    )
    assert later.count() == 0


def forecast_of(spark, *days):
    lines = [line(f"o{i}", day) for i, day in enumerate(days)]
    state = advance(spark, empty_state(spark), frequency_of(spark, *lines), "2017-05")
    type_gap_days = F.coalesce("mean_gap_days", F.lit(30.0))
    known = state.withColumns({"type_gap_days": type_gap_days, "product_units_per_order": F.lit(3.0)})
    return forecast(known, ForecastParams(half_life_days=10.0)).first()


def test_forecast_is_ordered_likelier_for_regular_recent_buyers(spark):
    often = forecast_of(spark, "2017-05-11", "2017-05-18", "2017-05-25")
    once = forecast_of(spark, "2017-05-11")
    long_ago = forecast_of(spark, "2017-05-01", "2017-05-02", "2017-05-03")
    assert 0 < once.probability < long_ago.probability < often.probability < 1
    assert often.gap_days == pytest.approx(7)


def test_forecast_equals_the_gamma_poisson_predictive(spark):
    row = forecast_of(spark, "2017-05-11", "2017-05-21")
    first_weight, last_weight = 2**-2.0, 2**-1.0
    repeats = first_weight + last_weight - first_weight
    observed = 10 / log(2) * (1 - first_weight)
    base = 60 + observed
    assert row.probability == pytest.approx(1 - (base / (base + 30)) ** (0.1 + repeats))


def test_expected_units_are_shrunk_to_the_product_s_median(spark):
    row = forecast_of(spark, "2017-05-11", "2017-05-21")
    assert row.units_per_order == pytest.approx((2 * 1 + 2 * 3) / (2 + 2))


def test_a_line_has_the_need_that_its_product_had_at_the_month_s_end(spark):
    products = spark.createDataFrame(
        [
            ("p", "Milk", "Dairy", "Milk 1 l", "1970-01-01 00:00:00", "2017-06-01 04:00:00"),
            ("p", "Oat milk", "Dairy", "Milk 1 l", "2017-06-01 04:00:00", None),
            ("q", None, None, "Soap", "1970-01-01 00:00:00", None),
        ],
        "product_id string, type string, category string, name string, valid_from string, valid_to string",
    ).withColumns({name: F.col(name).cast("timestamp") for name in ("valid_from", "valid_to")})
    lines = spark.createDataFrame(
        [("2017-05", "p"), ("2017-06", "p"), ("2017-05", "q"), ("2017-05", "new")], "month string, product_id string"
    )
    found = with_needs(lines, products, "America/New_York").collect()
    assert {(row.month, row.product_id): row.need for row in found} == {
        ("2017-05", "p"): "Milk",
        ("2017-06", "p"): "Oat milk",
        ("2017-05", "q"): "Soap",
        ("2017-05", "new"): "new",
    }
