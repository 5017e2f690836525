"""Bronze to silver: duplicates, corrections, missing line numbers, returns, unknown products, periods of validity."""

from datetime import date, datetime
from decimal import Decimal

from transforms.catalogue import as_of_end_of, product_text, validity_periods
from transforms.cleaning import clean_order_lines, judge_versions

ORDERS = (
    "file_id string, row_number long, month string, file_order string, order_id string, customer_id string, "
    "product_id string, quantity int, ordered_at timestamp, line_amount_usd decimal(18,2), line_number int, "
    "discount_usd decimal(18,2), store_id string, channel string, order_kind string"
)


def order(
    row, number=1, file="f1", product="p", quantity=1, amount=2, kind=None, order_id="o", at="2017-05-31T23:30:00"
):
    moment = datetime.fromisoformat(at)
    return (
        file,
        row,
        "2017-05",
        file,
        order_id,
        "c",
        product,
        quantity,
        moment,
        Decimal(amount),
        number,
        None,
        None,
        None,
        kind,
    )


def clean(spark, *orders, known_from=date(1970, 1, 1)):
    products = spark.createDataFrame([("p", known_from)], "product_id string, known_from date")
    return clean_order_lines(spark.createDataFrame(list(orders), ORDERS), products, "America/New_York")


def verdicts(frame):
    return {(row.file_id, row.row_number): row.verdict for row in frame.collect()}


def test_exact_duplicates_collapse_and_later_files_correct(spark):
    judged = clean(
        spark, order(1), order(2), order(1, file="f2"), order(7, number=2), order(9, number=2, file="f2", quantity=3)
    )
    assert verdicts(judged) == {
        ("f1", 1): "duplicate", ("f1", 2): "duplicate", ("f2", 1): "kept", ("f1", 7): "superseded", ("f2", 9): "kept",
    }  # fmt: skip


def test_lines_without_numbers_are_numbered_and_equal_ones_collapse(spark):
    judged = clean(spark, order(1, number=None), order(2, number=None, quantity=5), order(3, number=None)).collect()
    assert {row.row_number: (row.line_number, row.verdict) for row in judged} == {
        1: (1, "duplicate"), 2: (2, "kept"), 3: (1, "kept"),
    }  # fmt: skip


def test_returns_are_negative_whatever_their_sign(spark):
    rows = clean(
        spark, order(1, kind="return"), order(2, number=2, quantity=-2, amount=-4), order(3, number=3)
    ).collect()
    found = {row.row_number: (row.order_kind, row.quantity, float(row.line_amount_usd)) for row in rows}
    assert found == {1: ("return", -1, -2.0), 2: ("return", -2, -4.0), 3: ("one_off", 1, 2.0)}


def test_dates_are_local(spark):
    row = clean(spark, order(1, at="2017-06-01T03:00:00")).first()
    assert row.ordered_date == date(2017, 5, 31)


def test_unknown_products_and_products_of_later_months_are_set_apart(spark):
    assert set(verdicts(clean(spark, order(1, product="q"))).values()) == {"unknown_product"}
    assert set(verdicts(clean(spark, order(1), known_from=date(2017, 6, 1))).values()) == {"unknown_product"}
    assert set(verdicts(clean(spark, order(1), known_from=date(2017, 5, 31))).values()) == {"kept"}


def test_judge_versions_breaks_ties_by_row(spark):
    rows = [("k", "f", 1, "x"), ("k", "f", 2, "y")]
    judged = judge_versions(
        spark.createDataFrame(rows, "id string, file_order string, row_number long, value string"), ["id"], ["value"]
    )
    assert {row.row_number: row.verdict for row in judged.collect()} == {1: "superseded", 2: "kept"}


def test_periods_do_not_overlap_and_a_month_sees_its_day(spark):
    rows = [
        ("p", None, "old", "f1", 1),
        ("p", datetime(2017, 5, 10), "new", "f2", 1),
        ("p", datetime(2017, 6, 1, 3, 59), "edge", "f3", 1),
        ("p", datetime(2017, 6, 1, 4, 0), "june", "f4", 1),
    ]
    frame = spark.createDataFrame(
        rows, "product_id string, updated_at timestamp, name string, file_order string, row_number long"
    )
    periods = validity_periods(frame, "product_id", ["name"])
    assert periods.where("valid_to IS NULL").count() == 1
    names = {m: as_of_end_of(periods, m, "America/New_York").first().name for m in ("2017-04", "2017-05", "2017-06")}
    # In New York May ends at 04:00 UTC on 1 June.
    assert names == {"2017-04": "old", "2017-05": "edge", "2017-06": "june"}


def test_an_empty_cell_keeps_the_value_that_held_before(spark):
    rows = [
        ("f1", 1, "c", None, False, ["p1"]),
        ("f2", 1, "c", None, None, None),
        ("f1", 2, "c", datetime(2017, 3, 1), None, ["p2"]),
        ("f1", 3, "c", datetime(2017, 4, 1), True, None),
        ("f1", 4, "new", datetime(2017, 4, 1), None, None),
    ]
    frame = spark.createDataFrame(
        [(*row, row[0]) for row in rows],
        "file_id string, row_number long, customer_id string, updated_at timestamp, consent boolean, "
        "excluded array<string>, file_order string",
    )
    periods = validity_periods(frame, "customer_id", ["customer_id", "consent", "excluded", "updated_at"])
    kept = periods.where("verdict = 'kept'").orderBy("customer_id", "valid_from").collect()
    assert [(row.customer_id, row.consent, row.excluded) for row in kept] == [
        ("c", False, ["p1"]),
        ("c", False, ["p2"]),
        ("c", True, ["p2"]),
        ("new", None, None),
    ]


def test_product_text_says_nothing_twice(spark):
    frame = spark.createDataFrame(
        [("Acme whole milk", "Acme", "Milk", None, None), ("Soap", "Acme", None, "Care", "Mild.")],
        "name string, brand string, type string, category string, description string",
    )
    assert [row[0] for row in frame.select(product_text()).collect()] == ["Acme whole milk", "Soap, Acme, Care, Mild."]
