"""Reads a Delta table's log without Spark: which files hold which rows, how many they are, what the last commit was.

Spark reads a log by queries of its own, one for each table of each query, and they were half of what a month ran. The
log is small, so delta-rs reads it in milliseconds. Not here: reading rows and writing (``warehouse/lake.py``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from warehouse.contracts.table import Table, spark_schema
from warehouse.errors import ContractError, StoreUnavailable

Condition = tuple[str, Literal["=", "in"], Any]
"""A column, how it is compared, and with what."""


@dataclass(frozen=True)
class TableFiles:
    """The files of one version: ``uris``, and what Delta counted in each.

    ``rows`` is null for a file without statistics; ``months`` is null for a table without months.
    """

    uris: tuple[str, ...]
    rows: pa.Array
    months: pa.Array

    def rows_by_month(self) -> dict[str, int] | None:
        """Month → rows, in order; None where a file was written without a count."""
        if self.rows.null_count:
            return None
        counts: dict[str, int] = {}
        for month, rows in zip(self.months.to_pylist(), self.rows.to_pylist(), strict=True):
            counts[month] = counts.get(month, 0) + rows
        return dict(sorted((month, rows) for month, rows in counts.items() if rows))


class TableLog:
    """The log of one table at its newest version."""

    def __init__(self, table: Table, uri: str, delta: DeltaTable) -> None:
        self._table = table
        self._uri = uri.rstrip("/")
        self._delta = delta

    @property
    def is_plain(self) -> bool:
        """Whether the files' rows are the table's rows: no deletion vectors and no renamed columns."""
        return not self._delta.protocol().reader_features

    @property
    def version(self) -> int:
        """Number of the newest commit."""
        return self._delta.version()

    def note(self) -> str | None:
        """The note that the newest commit carries."""
        return self._delta.history(1)[0].get("userMetadata")

    def files(self, months: Sequence[str] | None = None) -> TableFiles:
        """The files of the table, or of its partitions of ``months``."""
        found = pa.table(self._delta.get_add_actions(flatten=True))
        if self._table.is_monthly and months is not None:
            found = found.filter(pc.is_in(found["partition.month"], pa.array(list(months), pa.string())))
        # Paths in a log are URL-encoded, as partitions' values may need it.
        paths = [unquote(path) for path in found["path"].to_pylist()]
        of_month = found["partition.month"] if self._table.is_monthly else pa.nulls(len(paths), pa.string())
        uris = tuple(f"{self._uri}/{path}" for path in paths)
        return TableFiles(uris, _whole(found["num_records"]), _whole(of_month))

    def rows(self, schema: pa.Schema, where: Sequence[Condition] = ()) -> pa.Table:
        """The schema's columns of the rows for which all conditions hold.

        Raises:
            PermanentError: the table has deletion vectors, which delta-rs does not read.
        """
        if any(value == [] for _, _, value in where):
            return schema.empty_table()
        return self._delta.to_pyarrow_table(columns=schema.names, filters=list(where) or None).cast(schema)

    def require_contract(self) -> None:
        """Checks the table's columns.

        Raises:
            ContractError: the table was made with other columns or types. A retry does not help.
        """
        stored = {field["name"]: field["type"] for field in json.loads(self._delta.schema().to_json())["fields"]}
        wanted = {field["name"]: field["type"] for field in spark_schema(self._table).jsonValue()["fields"]}
        differing = sorted(
            name for name in stored | wanted if _plain_type(stored.get(name)) != _plain_type(wanted.get(name))
        )
        if differing:
            raise ContractError(
                f"{self._table.name} was made by another version of Replenish: its {', '.join(differing)} differ from "
                f"the contract. Remove {self._uri} and materialize it again"
            )


def open_log(table: Table, uri: str, storage_options: Mapping[str, str]) -> TableLog | None:
    """The log of the table at ``uri``, or None where none was created.

    Raises:
        StoreUnavailable: the log cannot be read.
    """
    try:
        return TableLog(table, uri, DeltaTable(uri, storage_options=dict(storage_options)))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise StoreUnavailable(f"the log of {table.name} at {uri} cannot be read: {error}") from error


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _plain_type(declared: object) -> object:
    """A type of Delta's schema without what says which parts may be null."""
    if isinstance(declared, dict):
        parts = {key: _plain_type(value) for key, value in declared.items() if key in ("type", "elementType")}
        if "fields" in declared:
            parts["fields"] = [(field["name"], _plain_type(field["type"])) for field in declared["fields"]]
        return parts
    return declared
