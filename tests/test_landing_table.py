"""Every line of the tables of ``docs/data.md`` that say what is accepted, what is refused and with which message."""

import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql.pandas.types import from_arrow_schema

from transforms.landing_rows import type_rows
from warehouse.contracts.landing import DATASETS
from warehouse.files import open_filesystem
from warehouse.landing import list_files, plain_text, raw_schema, read_rows
from warehouse.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
READ_AT = datetime(2018, 3, 1, 12, tzinfo=UTC)
NULL_WORDS = Settings.model_fields["null_words"].default
GOOD = {
    "orders": {
        "order_id": "o1",
        "customer_id": "c1",
        "product_id": "p1",
        "quantity": "1",
        "ordered_at": "2017-05-01T10:00:00Z",
        "line_amount_usd": "2.50",
    },
    "interactions": {
        "interaction_id": "i1",
        "customer_id": "c1",
        "kind": "view",
        "occurred_at": "2017-05-01T10:00:00Z",
    },
    "products": {"product_id": "p1", "name": "Milk"},
    "customers": {"customer_id": "c1"},
}


def table(marker):
    """Cells of the table below a marker; code cells without their quotes and with their escapes resolved."""
    lines = PAGE.read_text(encoding="utf-8").split(f"<!-- {marker} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    return [tuple(plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]


def plain(cell):
    cell = cell.strip().replace(r"\|", "|")
    if re.fullmatch("`[^`]*`", cell):
        cell = re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), cell[1:-1].replace(r"\t", "\t"))
    return cell


ACCEPTED, REFUSED, FILES = table("accepted values"), table("refused values"), table("files")


def typed(spark, dataset, tables):
    raw = spark.createDataFrame(pa.concat_tables(tables), from_arrow_schema(raw_schema(dataset)))
    return type_rows(raw, dataset, "UTC", READ_AT, NULL_WORDS)


@pytest.fixture(scope="module")
def results(spark):
    """(column, written) → the typed row, of both tables at once."""
    found = {}
    cases = [(*line[0].split("."), line[1]) for line in (*ACCEPTED, *REFUSED)]
    for name, dataset in DATASETS.items():
        mine = [(column, text) for owner, column, text in cases if owner == name]
        rows = [
            GOOD[name] | {column: text, "row_number": number, "problem_rows": 1}
            for number, (column, text) in enumerate(mine, 1)
        ]
        raw = pa.Table.from_pylist(rows, schema=raw_schema(dataset))
        for place, field in enumerate(raw.schema):
            if field.name in dataset.column_names:
                raw = raw.set_column(place, field, plain_text(raw.column(place), NULL_WORDS))
        for row in typed(spark, dataset, [raw]).collect():
            column, text = mine[row["row_number"] - 1]
            found[(f"{name}.{column}", text)] = row
    return found


def shown(value):
    if value is None:
        return "nothing"
    if isinstance(value, bool | list):
        return json.dumps(value)
    return str(value)


@pytest.mark.parametrize(("column", "written", "read_as"), ACCEPTED)
def test_accepted_value(results, column, written, read_as):
    row = results[(column, written)]
    assert (row["problem"], row["cell_problem"]) == (None, None)
    assert shown(row[column.split(".")[1]]) == read_as


@pytest.mark.parametrize(("column", "written", "costs", "message"), REFUSED)
def test_refused_value(results, column, written, costs, message):
    row = results[(column, written)]
    name = column.split(".")[1]
    problem = row["problem"] if costs == "row" else row["cell_problem"]
    assert problem is not None and problem["column"] == name
    assert problem["message"].startswith(message)
    if costs != "row":
        assert (row["problem"], problem["reason"], problem["value"]) == (None, "invalid_cell", written)
        wanted = {"cell": None, "cell, read as false": False}
        assert row[name] == wanted.get(costs, READ_AT.replace(tzinfo=None))
    assert row["row_json"]


ROWS = [GOOD["orders"] | {"order_id": f"o{n}", "channel": "web"} for n in (1, 2)]


def as_csv(rows=ROWS, delimiter=",", header=None):
    lines = [header or delimiter.join(rows[0]), *[delimiter.join(row.values()) for row in rows]]
    return "".join(f"{line}\n" for line in lines)


def as_ndjson(*lines):
    return "".join(f"{line}\n" for line in (json.dumps(ROWS[0]), *lines, json.dumps(ROWS[1]))).encode()


def as_parquet(**columns):
    arrays = {name: pa.array([row[name] for row in ROWS]) for name in ROWS[0]} | columns
    return parquet_of(pa.table(arrays))


def parquet_of(content):
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink)
    return sink.getvalue().to_pybytes()


def doubled_parquet():
    names = [*ROWS[0], "product_id"]
    return parquet_of(pa.Table.from_arrays([pa.array([row[name] for row in ROWS]) for name in names], names))


LINE = json.dumps(ROWS[0])
PLAIN = as_csv()
PACKED = gzip.compress(PLAIN.encode())
FOUR = [GOOD["orders"] | {"order_id": f"o{n}"} for n in range(1, 5)]
EMPTY = {name: b"" for name in ("a.parquet", "a.csv", "a.csv.gz", "a.ndjson", "a.ndjson.gz")}
# What each line of the table "files" stands for, in its order: every file must fare as the line says.
LANDINGS = [
    {f"{n}.csv": as_csv(delimiter=mark).encode() for n, mark in enumerate(";\t|")},
    {"a.csv": f"sep=;\r\n{as_csv(delimiter=';')}".encode()},
    {
        "a.csv": PLAIN.encode("utf-16"),
        "b.csv": PLAIN.encode("utf-8-sig"),
        "c.csv.gz": gzip.compress(PLAIN.encode("utf-16")),
    },
    {
        "a.csv": as_csv(
            header='Order_ID, "Customer_ID",PRODUCT_ID ,\u00a0quantity,ordered_at,line_amount_usd,channel'
        ).encode()
    },
    {"A.CSV": PLAIN.encode()},
    {"a.csv.gz": gzip.compress(PLAIN[:50].encode()) + gzip.compress(PLAIN[50:].encode())},
    {"a.csv": as_csv([ROWS[0], ROWS[1] | {"channel": "café"}]).encode("cp1252")},
    {"a.csv": PLAIN.encode("utf-16-le"), "a.ndjson": as_ndjson().decode().encode("utf-16-be")},
    {
        "a.csv": PLAIN.replace("channel", "product_id", 1).encode(),
        "b.csv": PLAIN.replace("channel", " Product_ID ", 1).encode(),
    },
    {"a.csv": (PLAIN[: PLAIN.rindex("o2")] + PLAIN).replace("o1", "o2", 1).encode()[: -len(PLAIN.splitlines()[2]) - 1]},
    {"a.csv": (PLAIN + PLAIN.splitlines()[1] + ",more\n").encode()},
    {"a.csv": as_csv([FOUR[0], FOUR[1] | {"customer_id": '"c1'}, *FOUR[2:]]).encode()},
    {"a.csv": as_csv([FOUR[0], FOUR[1] | {"customer_id": '"c1'}, FOUR[2], FOUR[3] | {"customer_id": 'c1"'}]).encode()},
    {"a.csv": PLAIN.replace("customer_id", "client", 1).encode()},
    EMPTY,
    {"a.csv.gz": gzip.compress(b""), "a.ndjson.gz": gzip.compress(b"\n\n")},
    {"a.csv.gz": PACKED[:-12]},
    {"a.csv.gz": PACKED[:20] + b"\xff\xff\xff\xff" + PACKED[24:]},
    {"a.csv.gz": PLAIN.encode(), "a.ndjson.gz": as_ndjson()},
    {"a.csv": PACKED, "a.ndjson": PACKED},
    {"a.csv": b"PK\x03\x04" + bytes(100)},
    {"a.ndjson": as_ndjson("[" * 100_000), "b.ndjson": as_ndjson('{"a":' * 100_000)},
    {"a.ndjson": as_ndjson(LINE.replace('"c1"', r'"\ud800"'))},
    {
        "a.ndjson": as_ndjson(LINE[:-1] + ', "customer_id": "c2"}'),
        "b.ndjson": as_ndjson(LINE[:-1] + ', "Customer_ID": "c2"}'),
    },
    {"a.ndjson": as_ndjson("[1, 2]")},
    {"a.ndjson": as_ndjson(LINE[:40])},
    {
        "a.ndjson": as_ndjson(LINE.replace('"c1"', '{"id": "c1"}')),
        "b.ndjson": as_ndjson(LINE.replace('"c1"', '["c1"]')),
    },
    {"a.ndjson": as_ndjson(LINE.replace('"c1"', "NaN"))},
    {"a.parquet": doubled_parquet()},
    {"a.parquet": as_parquet()[:-100]},
    {"a.parquet": as_parquet(ordered_at=pa.array([36_900_000_000] * 2, pa.time64("us")))},
    {"a.parquet": as_parquet(customer_id=pa.array([{"id": "c1"}, {"id": "c2"}]))},
    {"a.parquet": as_parquet(customer_id=pa.array([12345.0, 1.234567890123456e15]))},
    {"_temporary/0/a.csv": PLAIN.encode(), ".ipynb_checkpoints/a.csv": PLAIN.encode(), "_a.csv": PLAIN.encode()},
]


@pytest.fixture(scope="module")
def landed(spark, tmp_path_factory):
    """(line of the table, file) → its typed rows; every file of every line is read in one go."""
    root = tmp_path_factory.mktemp("landing")
    dataset = DATASETS["orders"]
    batches, owners, wanted = [], {}, {}
    for place, files in enumerate(LANDINGS):
        folder = root / str(place)
        for name, content in files.items():
            path = folder / "orders" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        landing = open_filesystem(str(folder))
        (folder / "orders" / "good.csv").write_text(PLAIN)
        for file in list_files(landing, dataset, str(folder)):
            name = file.path.removeprefix("orders/")
            owners[f"{place}/{name}"] = (place, name)
            wanted[(place, name)] = []
            rows = pa.Table.from_batches(list(read_rows(landing, file, dataset, NULL_WORDS)), raw_schema(dataset))
            ids = pa.array([f"{place}/{name}"] * rows.num_rows, pa.string())
            batches.append(rows.set_column(0, "file_id", ids))
    for row in typed(spark, dataset, batches).collect():
        wanted[owners[row["file_id"]]].append(row)
    return wanted


def test_every_line_of_the_table_has_its_landing():
    assert len(FILES) == len(LANDINGS)


@pytest.mark.parametrize(("place", "line"), list(enumerate(FILES)), ids=[line[0] for line in FILES])
def test_landed_file(landed, place, line):
    _, kept, refused, reason, message = line
    read = {name: rows for (owner, name), rows in landed.items() if owner == place}
    assert len(read.pop("good.csv")) == 2, "another file of the folder suffers"
    assert set(read) == set() if "_temporary" in line[0] else set(read) == set(LANDINGS[place])
    for rows in read.values():
        problems = [row for row in rows if row["problem"]]
        lost = any(row["row_number"] == 0 for row in problems)
        assert (0 if lost else len(rows) - len(problems)) == int(kept)
        assert sum(row["problem_rows"] for row in problems) == int(refused)
        assert {row["problem"]["reason"] for row in problems} == ({reason} if reason else set())
        assert all(message in row["problem"]["message"] for row in problems)
