"""The tables' contracts: one neutral description a table, one module a layer.

Everything else is rendered from these: Delta and PyArrow schemas, CHECK constraints, the Great Expectations
suites (``quality/suites.py``) and ``docs/tables.md`` (``python -m warehouse.contracts.docs``).
"""

from warehouse.contracts import bronze, gold, landing, serving, silver, vectors
from warehouse.contracts.table import Column, Table

TABLES: dict[str, Table] = {table.name: table for layer in (bronze, silver, gold, serving) for table in layer.TABLES}

VECTOR_TABLES: dict[str, Table] = {table.name: table for table in vectors.TABLES}

__all__ = [
    "TABLES",
    "VECTOR_TABLES",
    "Column",
    "Table",
    "bronze",
    "gold",
    "landing",
    "serving",
    "silver",
    "vectors",
]
