"""Whatever bytes land, no exception leaves a reader and its rows add up.

Seeded, so that a failure comes back: the test's message gives the file's number.
"""

import gzip
import io
import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from tests.test_landing_table import GOOD, NULL_WORDS
from transforms.landing_rows import type_rows
from warehouse.contracts.landing import DATASETS, Dataset
from warehouse.files import open_filesystem
from warehouse.landing import FORMATS, LandedFile, raw_schema, read_rows

FILES = 10_000
PIECES = (
    *(b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"|", b"{", b"}", b"[", b"]", b":", b"\\", b"NaN", b"null"),
    *(b"\\ud800", b"\\u0000", b"1e999", b"9" * 400, b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b"customer_id", b"[" * 3000, b'{"a":' * 2000, b'"\\ud800":{},'),
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")


def good_file(chance: random.Random, dataset: Dataset, ending: str) -> bytes:
    """A whole file of 0 to 24 rows, before any gzip."""
    rows = [dict.fromkeys(dataset.column_names, "") | GOOD[dataset.name] for _ in range(chance.randrange(25))]
    for row in rows:
        row[chance.choice(dataset.column_names)] = f"v{chance.randrange(9)}é"
    if ending == ".parquet":
        data = io.BytesIO()
        columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in dataset.column_names}
        pq.write_table(pa.table(columns), data, compression=chance.choice(["none", "snappy", "gzip", "zstd"]))
        return data.getvalue()
    if ending.startswith(".csv"):
        delimiter = chance.choice(",;\t|")
        lines = [delimiter.join(line) for line in [dataset.column_names, *(row.values() for row in rows)]]
    else:
        lines = [json.dumps(row) for row in rows]
    return "\n".join(lines).encode(chance.choice(ENCODINGS))


def damage(chance: random.Random, data: bytes) -> bytes:
    """The bytes with up to thirty places changed, filled, cut out, cut off or doubled."""
    for _ in range(chance.choice([0, 1, 1, 2, 5, 30])):
        place = chance.randrange(len(data) + 1)
        before, after = data[:place], data[place:]
        data = chance.choice(
            (
                before + chance.randbytes(1) + after[1:],
                before + chance.choice(PIECES) + after,
                before + after[chance.randrange(1, 40) :],
                before,
                before + after[: chance.randrange(1, 60)] + after,
            )
        )
    return data


def any_file(chance: random.Random, dataset: Dataset, ending: str) -> bytes:
    """Random bytes, or a good file damaged inside or outside its gzip."""
    is_noise = chance.random() < 0.2
    data = chance.randbytes(chance.randrange(300)) if is_noise else good_file(chance, dataset, ending)
    if ending.endswith(".gz") and chance.random() < 0.9:
        data = gzip.compress(damage(chance, data) if chance.random() < 0.6 else data)
    return damage(chance, data) if chance.random() < 0.6 else data


def assert_adds_up(rows: list[dict]) -> None:
    """Row numbers follow one another; a file's own entry is the last and stands for at least the rows before it."""
    read = 0
    for place, row in enumerate(rows):
        if row["problem_reason"]:
            assert row["problem_message"]
        if row["row_number"] == 0:
            assert place == len(rows) - 1
            assert row["problem_rows"] >= read
        else:
            assert row["row_number"] == read + 1
            read += row["problem_rows"]


@pytest.mark.slow
def test_no_exception_leaves_a_reader_and_every_row_is_kept_or_refused(spark, tmp_path, monkeypatch):
    monkeypatch.setattr("warehouse.landing._CHUNK_ROWS", 7)
    landing = open_filesystem(str(tmp_path))
    chance = random.Random(25)
    raw: dict[str, list[pa.Table]] = {name: [] for name in DATASETS}
    for number in range(FILES):
        ending = FORMATS[number % len(FORMATS)]
        dataset = chance.choice(list(DATASETS.values()))
        data = any_file(chance, dataset, ending)
        (tmp_path / f"a{ending}").write_bytes(data)
        file = LandedFile(dataset.name, f"a{ending}", len(data), datetime.now(UTC))
        try:
            rows = pa.Table.from_batches(list(read_rows(landing, file, dataset, NULL_WORDS)), raw_schema(dataset))
            # Values are read too: text that is no UTF-8 would fail only then.
            assert_adds_up(rows.to_pylist())
        except Exception as error:
            error.add_note(f"file {number}, {dataset.name}{ending}: {data[:300]!r}")
            raise
        # The entry of a file that cannot be used comes last and stands for all of it.
        is_refused = rows.num_rows and rows["row_number"][-1].as_py() == 0
        raw[dataset.name].append(rows.slice(rows.num_rows - 1) if is_refused else rows)
    for name, tables in raw.items():
        assert_typed(spark, DATASETS[name], pa.concat_tables(tables))


def assert_typed(spark, dataset: Dataset, rows: pa.Table) -> None:
    """Every row is kept or refused, whatever is in its cells."""
    frame = spark.createDataFrame(rows, from_arrow_schema(raw_schema(dataset)))
    typed = type_rows(frame, dataset, "America/New_York", datetime.now(UTC), NULL_WORDS)
    kept = F.count_if(F.col("problem").isNull())
    refused = F.sum(F.when(F.col("problem").isNotNull(), F.col("problem_rows")))
    # The last makes Spark compute every value.
    kept, refused, _ = typed.agg(kept, refused, F.max(F.to_json(F.struct("*")))).first()
    assert kept + refused == pc.sum(rows["problem_rows"]).as_py()
    assert kept > 100 and refused > 100
