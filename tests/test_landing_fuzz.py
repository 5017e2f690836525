"""Any bytes under any format's name: no exception leaves a reader, and every row is kept or quarantined."""

import gzip
import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from tests.test_landing_table import GOOD, NULL_WORDS
from transforms.landing_rows import type_rows
from warehouse.contracts.landing import DATASETS
from warehouse.files import open_filesystem
from warehouse.landing import FORMATS, LandedFile, raw_schema, read_rows

pytestmark = pytest.mark.slow

FILES = 10_000
SEED = 25
TOKENS = (
    b'"', b'""', b"'", b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9",
    b"sep=;\n", b"{", b"}", b"[" * 2000, b"\\ud800", b"NaN", b"NULL", b"\\N", b"9" * 400, b"1e-999999999", b"1e999",
    b"\xc2\xa0", b"\x1f\x8b", b"PAR1", b"\xe2\x80\x8b", b"2017-05-01T10:00:00 BST", b"true", b"null", b"\x1a",
)  # fmt: skip


def sane_file(rng, name, dataset):
    """A file of the format, of up to 30 rows of which some lack a value."""
    rows = []
    for number in range(rng.randrange(30)):
        row = {column: f"{number}" for column in dataset.column_names if rng.random() < 0.5} | GOOD[dataset.name]
        rows.append(row)
    names = rng.sample(dataset.column_names, len(dataset.column_names))
    if name.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({c: pa.array([row.get(c) for row in rows], pa.string()) for c in names}), sink)
        return sink.getvalue().to_pybytes()
    if ".csv" in name:
        lines = [",".join(names), *[",".join(row.get(c, "") for c in names) for row in rows]]
    else:
        lines = [json.dumps(row) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode()


def mutated(rng, data):
    """The bytes with some flipped, cut out, doubled or replaced by what readers stumble over."""
    data = bytearray(data)
    for _ in range(rng.randrange(6)):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1:
            data[place:place] = rng.choice(TOKENS)
        elif kind == 2:
            del data[place : place + rng.randrange(40)]
        elif kind == 3:
            data[place:place] = data[: rng.randrange(len(data) + 1)]
        elif kind == 4 and rng.random() < 0.3:
            del data[place:]
    return bytes(data)


def any_bytes(rng, name, dataset):
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(300))
    data = sane_file(rng, name, dataset)
    if not name.endswith(".gz"):
        return mutated(rng, data)
    return gzip.compress(mutated(rng, data)) if rng.random() < 0.7 else mutated(rng, gzip.compress(data))


def test_no_exception_leaves_a_reader_and_no_row_is_lost(spark, tmp_path):
    rng = random.Random(SEED)
    landing = open_filesystem(str(tmp_path))
    raw = {name: [] for name in DATASETS}
    rows_in = dict.fromkeys(DATASETS, 0)
    for number in range(FILES):
        name = rng.choice(list(DATASETS))
        path = f"{number}{FORMATS[number % len(FORMATS)]}"
        data = any_bytes(rng, path, DATASETS[name])
        (tmp_path / path).write_bytes(data)
        file = LandedFile(name, path, len(data), datetime.now(UTC))
        rows = pa.Table.from_batches(
            list(read_rows(landing, file, DATASETS[name], NULL_WORDS)), raw_schema(DATASETS[name])
        )
        (tmp_path / path).unlink()
        numbers, counts = rows["row_number"].to_pylist(), rows["problem_rows"].to_pylist()
        if 0 in numbers:
            # The file cannot be used: its entry comes last and stands for all of it.
            assert numbers.index(0) == len(numbers) - 1
            rows, counts = rows.slice(len(numbers) - 1), counts[-1:]
        else:
            firsts = [1 + sum(counts[:place]) for place in range(len(counts))]
            assert numbers == firsts, path
        rows_in[name] += sum(counts)
        raw[name].append(rows)
    for name, dataset in DATASETS.items():
        frame = spark.createDataFrame(pa.concat_tables(raw[name]), from_arrow_schema(raw_schema(dataset)))
        typed = type_rows(frame, dataset, "America/New_York", datetime.now(UTC), NULL_WORDS)
        kept = F.sum(F.when(F.col("problem").isNull(), 1).otherwise(0))
        refused = F.sum(F.when(F.col("problem").isNotNull(), F.col("problem_rows")).otherwise(0))
        totals = typed.agg(kept.alias("kept"), refused.alias("refused"), F.max(F.to_json(F.struct("*"))))
        kept, refused, _ = totals.first()
        assert kept + refused == rows_in[name]
        assert kept > 100 and refused > 100
