"""The LanceDB store: merges by key, and versions named by tags, one a month for running tables.

Writers change the newest version; readers see the version of a tag (``prod``, or a month), so nothing half-written
is ever read. One writer a table (a Dagster pool). LanceDB is imported when the store is first used.
Not here: the search for near texts (``warehouse/text_index.py``) and which vectors are written (``jobs``).
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from warehouse.contracts.table import Table, arrow_schema
from warehouse.errors import MissingMonth, StoreUnavailable
from warehouse.months import add_months
from warehouse.object_store import is_s3, object_store_options
from warehouse.object_store_errors import require_store
from warehouse.settings import MONTH_PATTERN, Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection
    from lancedb.table import LanceTable

MONTH = re.compile(MONTH_PATTERN)
PROD = "prod"
EMPTY = "empty"
"""Tag of the version before the first row, from which a first month can be computed again."""

_KEYS_A_LOOKUP = 5_000
# Untagged versions go after a week, longer than any reader keeps one open; tagged versions stay.
_KEEP_UNTAGGED = timedelta(days=7)


class VectorStore:
    """The LanceDB database of the settings: a local folder or ``s3://``."""

    def __init__(self, uri: str, storage_options: dict[str, str] | None = None) -> None:
        self.uri = uri
        self._storage_options = storage_options

    @cached_property
    def _connection(self) -> "DBConnection":
        import lancedb

        return lancedb.connect(self.uri, storage_options=self._storage_options)

    def exists(self, table: Table) -> bool:
        """Whether the table has been created.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        try:
            return _name(table) in self._connection.list_tables().tables
        except (OSError, RuntimeError, ValueError) as error:  # LanceDB wraps a refused connection in any of them
            raise StoreUnavailable(f"the vector store at {self.uri} did not answer: {error}") from error

    def newest(self, table: Table) -> "LanceTable":
        """The newest version, to write to; created empty, with its key declared, if there is none.

        Without the declared key, writers that race insert rows of one key twice.
        """
        if not self.exists(table):
            self._connection.create_table(_name(table), schema=arrow_schema(table))
        handle = self._connection.open_table(_name(table))
        if EMPTY not in handle.tags.list():  # new, or its creation broke off here
            if not _has_key(handle):
                handle.set_unenforced_primary_key(list(table.key))
            handle.tags.create(EMPTY, handle.version)
        return handle

    def at(self, table: Table, tag: str = PROD) -> "LanceTable":
        """The read-only version of a tag.

        Raises:
            MissingMonth: there is no such version.
        """
        if tag not in self.tags(table):
            raise MissingMonth(f"{table.name} has no version {tag!r}: materialize it first")
        handle = self._connection.open_table(_name(table))
        handle.checkout(tag)
        return handle

    def tags(self, table: Table) -> dict[str, int]:
        """Tag → version; empty where the table has not been created."""
        if not self.exists(table):
            return {}
        tags = self._connection.open_table(_name(table)).tags.list()
        return {name: int(tag["version"]) for name, tag in tags.items()}

    def move_tag(self, table: Table, tag: str, version: int) -> None:
        """Lets the tag name the version; readers that open it from now on see that version."""
        tags = self._connection.open_table(_name(table)).tags
        if tag in tags.list():
            tags.update(tag, version)
        else:
            tags.create(tag, version)


def open_vectors(settings: Settings) -> VectorStore:
    """The vector store of the settings. Credentials of ``s3://`` come from AWS's own chain.

    Raises:
        AccessRefused, SettingsError, StoreUnavailable: it is on S3 and cannot be used.
    """
    require_store(settings, "REPLENISH_VECTORS_URI")
    if not is_s3(settings.vectors):
        return VectorStore(settings.vectors)
    return VectorStore(settings.vectors, object_store_options(settings.s3_endpoint))


def read_rows(handle: "LanceTable", columns: Sequence[str]) -> pa.Table:
    """All rows of a version, these columns, in no particular order."""
    return handle.search().select(list(columns)).limit(max(handle.count_rows(), 1)).to_arrow().select(list(columns))


def read_keys(handle: "LanceTable", key: str, values: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """The rows whose key is among ``values``, these columns, in no particular order; unknown keys have no row."""
    from lancedb.expr import col

    parts = [handle.search().select(list(columns)).limit(1).to_arrow().select(list(columns)).slice(0, 0)]
    for start in range(0, len(values), _KEYS_A_LOOKUP):
        some = list(values[start : start + _KEYS_A_LOOKUP])
        found = handle.search().where(col(key).isin(some)).select(list(columns)).limit(len(some)).to_arrow()
        parts.append(found.select(list(columns)))
    return pa.concat_tables(parts)


def vectors_of(rows: pa.Table) -> np.ndarray:
    """The ``vector`` column as float32 ``[rows, 384]``."""
    column = rows["vector"].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(rows.num_rows, column.type.list_size)


def vector_array(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """Float ``[rows, dimensions]`` as an Arrow column of float32 lists."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def merge_rows(handle: "LanceTable", table: Table, rows: pa.Table, delete_where: str | None = None) -> None:
    """Inserts and replaces rows by key; also deletes the other rows for which ``delete_where`` holds.

    Args:
        handle: newest version.
        table: contract of the rows.
        rows: has the contract's columns, one row a key.
        delete_where: SQL predicate; ``None`` deletes nothing.
    """
    merge = handle.merge_insert(list(table.key)).when_matched_update_all().when_not_matched_insert_all()
    if delete_where is not None:
        merge = merge.when_not_matched_by_source_delete(delete_where)
    merge.execute(rows.select(list(table.column_names)).cast(arrow_schema(table)))


def settle(handle: "LanceTable", table: Table) -> None:
    """Compacts, brings merged rows into the indices, and drops untagged versions older than a week."""
    from lancedb.index import BTree

    key = table.key[0]
    if handle.count_rows() and not any(index.columns == [key] for index in handle.list_indices()):
        handle.create_index(key, config=BTree())
    handle.optimize(cleanup_older_than=_KEEP_UNTAGGED)


def month_before(store: VectorStore, table: Table, month: str, first_month: str) -> "LanceTable":
    """The read-only version that a month of a running table builds on: the month before, or the empty table.

    Raises:
        MissingMonth: the month before has not been computed, or the month is before the first.
    """
    store.newest(table)
    if month < first_month:
        raise MissingMonth(f"{table.name} starts with {first_month}, so there is no {month}")
    tag = EMPTY if month == first_month else add_months(month, -1)
    return store.at(table, tag)


def write_month(
    store: VectorStore, table: Table, month: str, first_month: str, rows: pa.Table, gone: Sequence[str] = ()
) -> list[str]:
    """Makes the version of a month: the month before with ``rows`` merged in and the keys in ``gone`` left out;
    ``prod`` names the newest month.

    Versions are linear, so where the newest version is not the month before's (a month computed again, or a run that
    broke off), the month before's contents are restored first. Later months keep their versions and are returned:
    they are stale until they are computed again.

    Raises:
        MissingMonth: as :func:`month_before`.
    """
    base = month_before(store, table, month, first_month)
    handle = store.newest(table)
    if handle.version != base.version:
        base.restore()
        handle = store.newest(table)
    _delete_keys(handle, table.key[0], gone)
    if rows.num_rows:
        merge_rows(handle, table, rows)
        settle(handle, table)
    store.move_tag(table, month, handle.version)
    tags = store.tags(table)
    months = sorted(tag for tag in tags if MONTH.match(tag))
    store.move_tag(table, PROD, tags[months[-1]])
    return [later for later in months if later > month]


def _delete_keys(handle: "LanceTable", key: str, values: Sequence[str]) -> None:
    from lancedb.expr import col

    for start in range(0, len(values), _KEYS_A_LOOKUP):
        handle.delete(col(key).isin(list(values[start : start + _KEYS_A_LOOKUP])).to_sql())


def _name(table: Table) -> str:
    return table.asset_key[-1]


def _has_key(handle: "LanceTable") -> bool:
    return any(b"unenforced-primary-key" in name for field in handle.schema for name in field.metadata or {})
