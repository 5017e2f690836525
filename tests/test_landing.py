"""Landed files of every format come out as the same rows of text; what cannot be split says why."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest

from warehouse.contracts.landing import INTERACTIONS, ORDERS, PRODUCTS
from warehouse.errors import MissingDataset
from warehouse.files import open_filesystem
from warehouse.landing import LandedFile, list_files, read_rows

ROW = {
    "order_id": "o1",
    "customer_id": "c1",
    "product_id": "p1",
    "quantity": "2",
    "ordered_at": "2017-05-01T10:00:00Z",
    "line_amount_usd": "3.50",
}


def write(folder, name, content):
    path = folder / "orders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def rows_of(folder, name, dataset=ORDERS):
    file = LandedFile(dataset.name, f"{dataset.name}/{name}", 1, datetime.now(UTC))
    return [row for batch in read_rows(open_filesystem(str(folder)), file, dataset) for row in batch.to_pylist()]


CSV = ",".join(ROW) + "\n" + ",".join(ROW.values()) + "\n"
NDJSON = json.dumps(ROW | {"quantity": 2, "line_amount_usd": 3.50}) + "\n"


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", CSV), ("a.csv.gz", CSV), ("a.ndjson", NDJSON), ("deep/a.ndjson.gz", NDJSON)]
)
def test_text_formats_read_alike(tmp_path, name, content):
    write(tmp_path, name, content)
    (row,) = rows_of(tmp_path, name)
    assert {key: row[key] for key in ROW} == ROW | {"line_amount_usd": row["line_amount_usd"]}
    assert float(row["line_amount_usd"]) == 3.5
    assert (row["row_number"], row["problem_reason"], row["channel"]) == (1, None, None)


def test_parquet_keeps_instants_numbers_and_lists(tmp_path):
    (tmp_path / "products").mkdir()
    frame = pd.DataFrame(
        {
            "product_id": [7],
            "name": ["Milk"],
            "price_usd": [1.25],
            "dietary_tags": [["vegan", "halal"]],
            "updated_at": [pd.Timestamp("2017-05-01 10:00", tz="America/New_York")],
            "not_ours": ["ignored"],
        }
    )
    frame.to_parquet(tmp_path / "products" / "p.parquet")
    (row,) = rows_of(tmp_path, "p.parquet", PRODUCTS)
    assert (row["product_id"], row["price_usd"], row["dietary_tags"]) == ("7", "1.25", '["vegan", "halal"]')
    assert row["updated_at"].startswith("2017-05-01 14:00:00")
    assert row["updated_at"].endswith("Z")


def test_row_numbers_go_on_over_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("warehouse.landing._CHUNK_ROWS", 2)
    write(tmp_path, "a.csv", ",".join(ROW) + "\n" + (",".join(ROW.values()) + "\n") * 5)
    assert [row["row_number"] for row in rows_of(tmp_path, "a.csv")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "reason", "rows"),
    [
        ("a.txt", "x", "unsupported_format", 0),
        ("a.parquet", b"PAR1 no", "malformed_file", 0),
        ("a.csv", b"\xff\xfe\x00", "malformed_file", 0),
        ("a.csv", CSV.replace("customer_id,", "").replace("c1,", ""), "missing_column", 1),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, reason, rows):
    write(tmp_path, name, content)
    (entry,) = rows_of(tmp_path, name)
    assert (entry["row_number"], entry["problem_reason"], entry["problem_rows"]) == (0, reason, rows)
    assert f"orders/{name}" in entry["problem_message"]


def test_a_file_that_breaks_off_says_so_after_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("warehouse.landing._CHUNK_ROWS", 1)
    write(tmp_path, "a.csv.gz", CSV * 200)
    path = tmp_path / "orders" / "a.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    *_, last = rows_of(tmp_path, "a.csv.gz")
    assert (last["row_number"], last["problem_reason"]) == (0, "malformed_file")


def test_rows_that_cannot_be_split_leave_the_others_alone(tmp_path):
    write(tmp_path, "a.csv", CSV + "only,three,values\n" + CSV.splitlines()[1] + "\n")
    reasons = [(row["row_number"], row["problem_reason"], row["problem_value"]) for row in rows_of(tmp_path, "a.csv")]
    assert reasons == [(1, None, None), (2, "malformed_row", "only,three,values"), (3, None, None)]
    write(tmp_path, "b.ndjson", NDJSON + "{oops\n[1]\n" + NDJSON)
    assert [row["problem_reason"] for row in rows_of(tmp_path, "b.ndjson")] == [
        None, "malformed_row", "malformed_row", None,
    ]  # fmt: skip


def test_listing_leaves_files_alone_that_are_being_written(tmp_path):
    for name in ("b.csv", "sub/a.csv", "_part.csv", ".hidden.csv"):
        write(tmp_path, name, CSV)
    files = list_files(open_filesystem(str(tmp_path)), ORDERS, str(tmp_path))
    assert [file.path for file in files] == ["orders/b.csv", "orders/sub/a.csv"]


def test_a_missing_dataset_says_where_it_was_looked_for_and_what_belongs_there(tmp_path):
    with pytest.raises(MissingDataset) as error:
        list_files(open_filesystem(str(tmp_path)), ORDERS, str(tmp_path))
    assert str(tmp_path / "orders") in str(error.value)
    assert "line_amount_usd" in str(error.value)


def test_an_optional_dataset_may_be_missing(tmp_path):
    assert list_files(open_filesystem(str(tmp_path)), replace(INTERACTIONS, required=False), str(tmp_path)) == []


def test_arrow_dictionaries_and_naive_times(tmp_path):
    import pyarrow.parquet as pq

    (tmp_path / "orders").mkdir()
    table = pa.table({key: pa.array([value]).dictionary_encode() for key, value in ROW.items() if key != "ordered_at"})
    table = table.append_column("ordered_at", pa.array([datetime(2017, 5, 1, 10)], pa.timestamp("ns")))
    pq.write_table(table, tmp_path / "orders" / "d.parquet")
    (row,) = rows_of(tmp_path, "d.parquet")
    assert row["order_id"] == "o1"
    assert row["ordered_at"].startswith("2017-05-01 10:00:00")
    assert not row["ordered_at"].endswith("Z")


def test_half_characters_in_names_cost_at_most_their_row(tmp_path):
    unknown = NDJSON.strip()[:-1] + ', "x\\ud800": {}}\n'
    doubled = NDJSON.strip()[:-1] + ', "\\ud800": 1, "\\ud800": 2}\n'
    write(tmp_path, "a.ndjson", NDJSON + unknown + doubled + NDJSON)
    assert [(row["row_number"], row["problem_reason"]) for row in rows_of(tmp_path, "a.ndjson")] == [
        (1, None), (2, None), (3, "malformed_row"), (4, None),
    ]  # fmt: skip


def test_a_quote_that_closes_rows_later_costs_those_rows_and_says_so(tmp_path):
    header, line = CSV.splitlines()
    first, second, last = f'{line},"web', f"{line},web", f'{line},web"'
    write(tmp_path, "a.csv", "\n".join([f"{header},channel", second, first, second, last, second]))
    good, swallowed, after = rows_of(tmp_path, "a.csv")
    assert (good["problem_reason"], after["problem_reason"], after["row_number"]) == (None, None, 5)
    assert (swallowed["row_number"], swallowed["problem_rows"]) == (2, 3)
    assert "opens in row 2 is not closed there and cost 3 rows, 2 to 4" in swallowed["problem_message"]


def test_text_of_several_lines_stays_whole(tmp_path):
    write(tmp_path, "a.csv", ",".join(ROW) + ",channel\n" + ",".join(ROW.values()) + ',"web,\nin the shop, twice"\n')
    (row,) = rows_of(tmp_path, "a.csv")
    assert (row["problem_reason"], row["channel"]) == (None, "web,\nin the shop, twice")


def test_gzip_followed_by_other_bytes_names_both_places(tmp_path):
    write(tmp_path, "a.csv.gz", CSV)
    path = tmp_path / "orders" / "a.csv.gz"
    path.write_bytes(path.read_bytes() + b"more")
    (entry,) = rows_of(tmp_path, "a.csv.gz")
    assert "what follows its end, is not gzip" in entry["problem_message"]


def test_parquet_text_that_is_no_utf8_goes_to_quarantine(tmp_path):
    import pyarrow.parquet as pq

    (tmp_path / "orders").mkdir()
    name = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"], pa.binary()).buffers())
    pq.write_table(pa.table({key: [value] for key, value in ROW.items()} | {"customer_id": name}),
                   tmp_path / "orders" / "u.parquet")  # fmt: skip
    (entry,) = rows_of(tmp_path, "u.parquet")
    assert (entry["problem_reason"], entry["problem_column"]) == ("malformed_file", "customer_id")
