"""Bad input, from landed files through the real lake: every reason code, and nothing lost on the way."""

import csv

import pytest
from pyspark.sql import functions as F

from jobs import catalogue, ingest, order_lines
from warehouse.contracts.bronze import LANDING_FILES, ORDERS_TABLE, QUARANTINE, REASONS
from warehouse.contracts.landing import DATASETS
from warehouse.contracts.silver import CUSTOMERS_TABLE, ORDER_LINES
from warehouse.errors import MissingDataset
from warehouse.lake import Lake

GOOD = {
    "order_id": "o",
    "line_number": 1,
    "customer_id": "c1",
    "product_id": "p1",
    "quantity": 1,
    "ordered_at": "2017-05-03 10:00:00",
    "line_amount_usd": 2.5,
    "order_kind": "",
}

BAD = {
    "missing_value": {"customer_id": ""},
    "invalid_type": {"quantity": "two"},
    "out_of_range": {"line_number": 0},
    "invalid_value": {"order_kind": "gift"},
    "timestamp_out_of_range": {"ordered_at": "1899-12-31 00:00:00"},
    "zero_quantity": {"quantity": 0},
    "negative_amount": {"line_amount_usd": -1},
    "unknown_product": {"product_id": "nobody-knows"},
}


def land(settings, name, rows, columns=tuple(GOOD)):
    path = settings.home / "landing" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def lake(spark, settings):
    land(settings, "products/p.csv", [{"product_id": "p1", "name": "Milk"}], ["product_id", "name"])
    lake = Lake(spark, settings.lake)
    ingest.run(lake, settings, DATASETS["products"])
    catalogue.run_products(lake)
    return lake


def quarantined(lake):
    rows = lake.read(QUARANTINE).where("dataset = 'orders'").collect()
    return {(row.path.removeprefix("orders/"), row.row_number): row for row in rows}


def test_every_reason_code_is_reached_and_every_row_accounted_for(lake, settings):
    orders = [GOOD | {"order_id": f"o{n}"} | change for n, change in enumerate(BAD.values())]
    land(settings, "orders/1-bad.csv", [GOOD, *orders])
    land(settings, "orders/2-columns.csv", [GOOD, GOOD], columns=[name for name in GOOD if name != "customer_id"])
    land(settings, "orders/3-late.csv", [GOOD, GOOD | {"quantity": 3}, GOOD | {"quantity": 3}])
    (settings.home / "landing/orders/4.parquet").write_bytes(b"nothing of the kind")
    land(settings, "orders/7-doubled.csv", [GOOD], columns=[*GOOD, "order_id"])
    land(settings, "orders/8-cell.csv", [GOOD | {"order_id": "v", "discount_usd": "a lot"}], [*GOOD, "discount_usd"])
    (settings.home / "landing/orders/5.xlsx").write_bytes(b"a spreadsheet")
    with (settings.home / "landing/orders/1-bad.csv").open("a") as file:
        file.write("one value too few\n")
    changed = land(settings, "orders/6-changed.csv", [GOOD | {"order_id": "x"}])
    ingest.run(lake, settings, DATASETS["orders"])
    land(settings, "orders/6-changed.csv", [GOOD | {"order_id": "y"}, GOOD | {"order_id": "z"}])
    report = ingest.run(lake, settings, DATASETS["orders"])
    assert report.details["files_changed"] == 1, changed
    silver = order_lines.run(lake, settings, ["2017-05"])

    found = quarantined(lake)
    for n, reason in enumerate(BAD):
        row = found[("1-bad.csv", n + 2)]
        assert row.reason == reason
        column, value = next(iter(BAD[reason].items()))
        assert row["column"] == column
        assert (row.value or "") == str(value)
        assert column in row.message or row.message
        assert f'"order_id":"o{n}"' in row.row_json
    reasons = {key[0]: row.reason for key, row in found.items() if key[1] == 0}
    assert reasons == {
        "2-columns.csv": "missing_column",
        "4.parquet": "malformed_file",
        "5.xlsx": "unsupported_format",
        "6-changed.csv": "file_changed",
        "7-doubled.csv": "duplicate_column",
    }
    assert found[("1-bad.csv", 10)].reason == "malformed_row"
    cell = found[("8-cell.csv", 1)]
    assert (cell.reason, cell["column"], cell.value, cell.rows) == ("invalid_cell", "discount_usd", "a lot", 0)
    assert {row.reason for row in found.values()} == set(REASONS)

    files = lake.read(LANDING_FILES).where("dataset = 'orders'")
    rows_in, kept, refused = files.agg(F.sum("rows_in"), F.sum("rows_kept"), F.sum("rows_quarantined")).first()
    assert rows_in == kept + refused == 1 + len(BAD) + 1 + 2 + 3 + 1 + 1 + 1
    assert kept == lake.read(ORDERS_TABLE).count() == silver.details["rows_in"]
    assert kept == silver.row_count + sum(silver.details["quarantined"].values())
    lines = {(row.order_id, row.quantity) for row in lake.read(ORDER_LINES).collect()}
    assert lines == {("o", 3), ("x", 1), ("v", 1)}


def test_consent_holds_until_it_is_said_otherwise_and_what_cannot_be_read_is_a_no(lake, settings):
    columns = ["customer_id", "consent_profiling", "excluded_products", "household_size", "updated_at"]
    known = [
        {"customer_id": "w1", "consent_profiling": "false", "excluded_products": "p1", "updated_at": "2017-01-01"},
        {"customer_id": "w2", "consent_profiling": "false", "household_size": "4+", "updated_at": "2017-01-01"},
        {"customer_id": "w3", "consent_profiling": "true", "updated_at": "2017-01-01"},
        {"customer_id": "w4", "consent_profiling": "true", "updated_at": "2017-01-01"},
    ]
    land(settings, "customers/1.csv", known, columns)
    later = [
        {"customer_id": "w1", "updated_at": "2017-03-01"},
        {"customer_id": "w3", "consent_profiling": "unsubscribed", "updated_at": "2017-03-01"},
        {"customer_id": "w4", "consent_profiling": "false", "updated_at": "1 March"},
    ]
    land(settings, "customers/2.csv", later, ["customer_id", "consent_profiling", "updated_at"])
    report = ingest.run(lake, settings, DATASETS["customers"])
    assert (report.details["rows_without_bad_cells"], report.details["quarantined"]) == (3, {})
    catalogue.run_customers(lake)
    now = {row.customer_id: row for row in lake.read(CUSTOMERS_TABLE).where("valid_to IS NULL").collect()}
    assert {key: row.consent_profiling for key, row in now.items()} == dict.fromkeys(("w1", "w2", "w3", "w4"), False)
    assert now["w1"].excluded_products == ["p1"]
    assert now["w2"].household_size is None
    notes = {(row.value, row.column) for row in lake.read(QUARANTINE).where("dataset = 'customers'").collect()}
    assert notes == {("4+", "household_size"), ("unsubscribed", "consent_profiling"), ("1 March", "updated_at")}
    land(
        settings,
        "customers/3.csv",
        [{"customer_id": "w3", "consent_profiling": "true", "updated_at": "2017-04-01"}],
        columns,
    )
    ingest.run(lake, settings, DATASETS["customers"])
    catalogue.run_customers(lake)
    again = {row.customer_id: row for row in lake.read(CUSTOMERS_TABLE).where("valid_to IS NULL").collect()}
    assert again["w3"].consent_profiling, "a readable yes, later than the no"


def test_a_file_is_read_once_and_a_second_run_changes_nothing(lake, settings):
    land(settings, "orders/a.csv", [GOOD])
    first = ingest.run(lake, settings, DATASETS["orders"])
    second = ingest.run(lake, settings, DATASETS["orders"])
    assert (first.row_count, second.row_count) == (1, 0)
    assert second.details == {"files_read": 0, "files_seen": 1}
    assert lake.read(ORDERS_TABLE).count() == 1


def test_a_run_that_died_before_its_ledger_is_made_good(lake, settings, monkeypatch):
    land(settings, "orders/a.csv", [GOOD, GOOD | {"quantity": "?"}])

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "_ledger", die)
        with pytest.raises(KeyboardInterrupt):
            ingest.run(lake, settings, DATASETS["orders"])
    assert lake.read(ORDERS_TABLE).count() == 1
    ingest.run(lake, settings, DATASETS["orders"])
    assert lake.read(ORDERS_TABLE).count() == 1
    assert len(quarantined(lake)) == 1


def test_unknown_products_come_in_once_the_catalogue_has_them(lake, settings):
    land(settings, "orders/a.csv", [GOOD | {"product_id": "p2"}])
    ingest.run(lake, settings, DATASETS["orders"])
    order_lines.run(lake, settings, ["2017-05"])
    assert [row.reason for row in quarantined(lake).values()] == ["unknown_product"]
    land(settings, "products/q.csv", [{"product_id": "p2", "name": "Tea"}], ["product_id", "name"])
    ingest.run(lake, settings, DATASETS["products"])
    catalogue.run_products(lake)
    order_lines.run(lake, settings, ["2017-05"])
    assert quarantined(lake) == {}
    assert lake.read(ORDER_LINES).count() == 1


def test_missing_orders_are_an_error(spark, settings):
    with pytest.raises(MissingDataset, match="no orders have landed"):
        ingest.run(Lake(spark, settings.lake), settings, DATASETS["orders"])
