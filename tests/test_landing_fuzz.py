"""Whatever bytes land, no exception leaves a reader and its rows add up.

Seeded, so that a failure comes back: the test's message gives the file's number.
"""

import gzip
import io
import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.contracts.landing import DATASETS, Dataset
from warehouse.files import open_filesystem
from warehouse.landing import FORMATS, LandedFile, read_rows

FILES = 10_000
PIECES = (
    *(b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"|", b"{", b"}", b"[", b"]", b":", b"\\", b"NaN", b"null"),
    *(b"\\ud800", b"\\u0000", b"1e999", b"9" * 400, b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b"customer_id", b"[" * 3000, b'{"a":' * 2000, b'"\\ud800":{},'),
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")


def good_file(chance: random.Random, dataset: Dataset, ending: str) -> bytes:
    """A whole file of 0 to 24 rows, before any gzip."""
    rows = [{name: f"v{number}é" for name in dataset.column_names} for number in range(chance.randrange(25))]
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
def test_no_exception_leaves_a_reader_and_rows_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr("warehouse.landing._CHUNK_ROWS", 7)
    landing = open_filesystem(str(tmp_path))
    chance = random.Random(25)
    for number in range(FILES):
        ending = FORMATS[number % len(FORMATS)]
        dataset = chance.choice(list(DATASETS.values()))
        data = any_file(chance, dataset, ending)
        (tmp_path / f"a{ending}").write_bytes(data)
        file = LandedFile(dataset.name, f"a{ending}", len(data), datetime.now(UTC))
        try:
            # Values are read too: text that is no UTF-8 would fail only then.
            assert_adds_up([row for batch in read_rows(landing, file, dataset) for row in batch.to_pylist()])
        except Exception as error:
            error.add_note(f"file {number}, {dataset.name}{ending}: {data[:300]!r}")
            raise
