"""Suites of the contracts through the real Great Expectations: each rule fails when broken and names the row."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from pyspark.sql import DataFrame

from quality.measures import balanced, distribution_shift, fallback_share, volume_drift
from quality.suites import NEVER_EMPTY, Reference, rules_of, suite_of
from quality.validation import validate
from warehouse.contracts import TABLES
from warehouse.contracts.gold import CANDIDATES, LIST_DECISIONS, SCORECARD
from warehouse.contracts.silver import INTERACTIONS_TABLE, ORDER_LINES
from warehouse.contracts.table import Table, spark_schema

LINE = {
    "month": "2017-05",
    "order_id": "o1",
    "line_number": 1,
    "customer_id": "c1",
    "product_id": "p1",
    "ordered_at": datetime(2017, 5, 3, 12, tzinfo=UTC),
    "ordered_date": date(2017, 5, 3),
    "quantity": 2,
    "line_amount_usd": Decimal("3.50"),
    "discount_usd": None,
    "store_id": None,
    "channel": "store",
    "order_kind": "one_off",
    "file_id": "f1",
    "row_number": 1,
}
CANDIDATE = {
    "month": "2017-05",
    "customer_id": "c1",
    "product_id": "p1",
    "is_due": True,
    "is_high_frequency": False,
    "is_similar_in_history": False,
    "is_copurchased": False,
    "probability": 0.5,
    "gap_days": 9.0,
    "units_per_order": 1.0,
}


def frame_of(spark, table: Table, *rows: dict) -> DataFrame:
    """Rows of a table, nullability aside, so that a broken row can be made; columns not given are null."""
    schema = spark_schema(table)
    for field in schema.fields:
        field.nullable = True
    return spark.createDataFrame([tuple(row.get(name) for name in table.column_names) for row in rows], schema)


def lines(spark, *changes: dict) -> DataFrame:
    """Good order lines o1/1, o1/2, … with some changed."""
    rows = [{**LINE, "line_number": n, "row_number": n, **change} for n, change in enumerate(changes, start=1)]
    return frame_of(spark, ORDER_LINES, *rows)


def only_failure(report):
    assert [rule.text for rule in report.failed] == [report.failed[0].text]
    return report.failed[0]


def test_clean_rows_pass_and_are_counted(spark) -> None:
    report = validate(lines(spark, {}, {}, {"discount_usd": Decimal("0.20")}), ORDER_LINES)
    assert report.success and report.failed == ()
    assert report.rows == 3
    # columns, rows, key; 12 columns that are never null; 3 ranges; 1 list of values
    assert report.evaluated == 19


def test_each_broken_rule_names_its_row(spark) -> None:
    broken = [
        {"product_id": None},
        {"discount_usd": Decimal("-0.01")},
        {"line_number": 0},
        {"order_kind": "gift"},
    ]
    report = validate(lines(spark, {}, *broken), ORDER_LINES)
    assert not report.success
    found = {(rule.text, rule.unexpected, rule.sample_keys[0]["line_number"]) for rule in report.failed}
    assert found == {
        ("product_id is never null", 1, "2"),
        ("discount_usd is at least 0", 1, "3"),
        ("line_number is at least 1", 1, "0"),
        ("order_kind is one of one_off, subscription, return", 1, "5"),
    }
    assert {rule.sample_keys[0]["order_id"] for rule in report.failed} == {"o1"}
    assert {(rule.rule, rule.column) for rule in report.failed} == {
        ("not_null", "product_id"),
        ("range", "discount_usd"),
        ("range", "line_number"),
        ("allowed", "order_kind"),
    }


def test_a_key_that_stands_twice_is_named(spark) -> None:
    failure = only_failure(validate(lines(spark, {}, {}, {"line_number": 2}), ORDER_LINES))
    assert (failure.rule, failure.text, failure.unexpected) == ("unique_key", "order_id + line_number is unique", 2)
    assert failure.sample_keys == ({"order_id": "o1", "line_number": "2"},)


def test_a_key_of_one_column_that_stands_twice_is_named(spark) -> None:
    row = {
        "month": "2017-05",
        "interaction_id": "i1",
        "customer_id": "c1",
        "kind": "click",
        "occurred_at": datetime(2017, 5, 3, tzinfo=UTC),
        "occurred_date": date(2017, 5, 3),
        "file_id": "f",
        "row_number": 1,
    }
    frame = frame_of(spark, INTERACTIONS_TABLE, row, {**row, "row_number": 2}, {**row, "interaction_id": "i2"})
    failure = only_failure(validate(frame, INTERACTIONS_TABLE))
    assert (failure.rule, failure.unexpected) == ("unique_key", 2)
    assert failure.sample_keys == ({"interaction_id": "i1"},)


def test_metadata_is_json_with_few_samples_that_hold_keys_alone(spark) -> None:
    bad = [{"order_kind": "gift", "customer_id": "somebody"}] * 9
    report = validate(lines(spark, *bad), ORDER_LINES, measures=[balanced(9, 9, 0, 0)], samples=3)
    failure = only_failure(report)
    assert failure.unexpected == 9 and len(failure.sample_keys) == 3
    assert all(set(key) == {"order_id", "line_number"} for key in failure.sample_keys)
    told = json.loads(json.dumps(report.to_metadata()))
    assert told["success"] is False and told["rows"] == 9 and told["measures"] == {"rows unaccounted for": 0.0}
    assert told["failed"][0]["sample_keys"] == list(failure.sample_keys)
    assert "somebody" not in json.dumps(told) + failure.line()


def test_not_a_number_is_out_of_every_range(spark) -> None:
    rows = [{**CANDIDATE, "product_id": p, "gap_days": gap} for p, gap in (("p1", 9.0), ("p2", float("nan")))]
    report = validate(frame_of(spark, CANDIDATES, *rows), CANDIDATES)
    failure = next(rule for rule in report.failed if rule.rule == "range" and rule.column == "gap_days")
    assert failure.unexpected == 1 and failure.sample_keys[0]["product_id"] == "p2"


def test_another_set_of_columns_is_the_one_failure(spark) -> None:
    report = validate(lines(spark, {}).drop("quantity").withColumnRenamed("store_id", "shop"), ORDER_LINES)
    failure = only_failure(report)
    assert failure.rule == "columns" and report.evaluated == 1 and not report.success
    assert "missing: ['quantity', 'store_id'], unknown: ['shop']" in failure.text


def test_an_empty_table_fails_only_where_it_may_not_be_empty(spark) -> None:
    report = validate(lines(spark), ORDER_LINES)
    assert only_failure(report).rule == "rows" and report.rows == 0
    assert validate(lines(spark), ORDER_LINES, may_be_empty=True).failed == ()
    assert SCORECARD.name not in NEVER_EMPTY
    assert validate(frame_of(spark, SCORECARD), SCORECARD).success


def test_an_orphan_is_named_and_a_null_refers_to_nothing(spark) -> None:
    products = spark.createDataFrame([("p1",), ("p1",), ("p2",)], "product_id string")
    shops = spark.createDataFrame([("s1",)], "shop string")
    references = [
        Reference("product_id", products, "silver/products"),
        Reference("store_id", shops, "shops", parent_column="shop"),
    ]
    frame = lines(spark, {"store_id": "s1"}, {"product_id": "p9"}, {"product_id": "p2"})
    report = validate(frame, ORDER_LINES, references=references)
    failure = only_failure(report)
    assert (failure.rule, failure.column, failure.unexpected) == ("reference", "product_id", 1)
    assert failure.text == "product_id stands in silver/products"
    assert failure.sample_keys == ({"order_id": "o1", "line_number": "2"},)
    assert report.rows == 3


def test_volume_blocks_outside_its_bounds(spark) -> None:
    rows = {"2017-02": 100, "2017-03": 120, "2017-04": 80, "2017-05": 49}
    measures = volume_drift(rows, ["2017-03", "2017-04", "2017-05", "2017-06"])
    assert [measure.value for measure in measures] == [None, 80 / 110, 0.49, 0.0]
    report = validate(lines(spark, {}), ORDER_LINES, measures=measures)
    assert [rule.rule for rule in report.blocking_failures] == ["volume", "volume"]
    assert "rows of 2017-05 are 0.5 to 2 times the median of the 3 months before; it is 0.49" in report.failed[0].text
    assert report.measures["volume 2017-04"] == pytest.approx(80 / 110)
    assert report.evaluated == 19 + 3


def test_a_shifted_distribution_warns_and_does_not_block(spark) -> None:
    before = spark.range(100).selectExpr("id AS line_amount_usd")
    shifted = distribution_shift(
        before.selectExpr("line_amount_usd + 50 AS line_amount_usd"), before, "line_amount_usd", "2017-05"
    )
    same = distribution_shift(before, before, "line_amount_usd", "2017-04")
    report = validate(lines(spark, {}), ORDER_LINES, measures=[shifted, same])
    assert report.success and [rule.rule for rule in report.warnings] == ["shift"]
    assert report.measures["shift of line_amount_usd 2017-04"] == 0


def test_rows_that_do_not_add_up_block(spark) -> None:
    failure = only_failure(validate(lines(spark, {}), ORDER_LINES, measures=[balanced(10, 6, 2, 1)]))
    assert failure.blocking and failure.rule == "accounting"
    assert "10 rows in = 6 kept + 2 quarantined + 1 duplicates; it is 1" in failure.text


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_every_contract_renders_rules_that_say_where_they_come_from(table: Table) -> None:
    suite = suite_of(table, rules_of(table))
    rules = [(e.meta["rule"], e.meta["column"]) for e in suite.expectations]
    assert len(set(rules)) == len(rules)
    assert {column for rule, column in rules if rule == "not_null"} == {c.name for c in table.columns if not c.nullable}
    assert {column for rule, column in rules if rule == "allowed"} == {c.name for c in table.columns if c.allowed}
    assert ("unique_key", None) in rules
    assert all(e.meta["contract"] == table.name and e.meta["text"] and e.meta["blocking"] for e in suite.expectations)


def test_nested_columns_are_judged_for_null(spark) -> None:
    decision = {
        "month": "2017-05",
        "customer_id": "c1",
        "decided_by": "policy",
        "model": "policy",
        "prompt_hash": "h",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost_usd": 0.0,
        "finish_reason": "stop",
        "repairs": [],
    }
    frame = frame_of(spark, LIST_DECISIONS, {**decision, "items": []}, {**decision, "customer_id": "c2"})
    failure = only_failure(validate(frame, LIST_DECISIONS))
    assert (failure.rule, failure.column, failure.unexpected) == ("not_null", "items", 1)
    assert failure.sample_keys == ({"month": "2017-05", "customer_id": "c2"},)


@pytest.mark.parametrize(("limit", "passes"), [(0.25, True), (0.2, False)])
def test_a_share_of_fallbacks_above_the_limit_blocks(spark, limit, passes) -> None:
    rows = [(None,), (None,), (None,), ("off_list",)]
    measure = fallback_share(spark.createDataFrame(rows, "fallback_reason string"), limit)
    assert (measure.value, measure.is_blocking) == (0.25, True)
    assert (measure.value <= measure.maximum) is passes
