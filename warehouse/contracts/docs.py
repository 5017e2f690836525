"""Renders ``docs/tables.md`` from the contracts: ``python -m warehouse.contracts.docs [--check]``.

``--check`` writes nothing and exits 1 where the page on disk is not what the contracts say. Not here: any fact about
a table; those stand in the contracts, and the page says nothing that they do not.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from warehouse import contracts
from warehouse.contracts.bronze import REASONS
from warehouse.contracts.landing import DATASETS, Dataset
from warehouse.contracts.table import Column, Table

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"

_INTRO = """# Tables

<!-- Rendered from warehouse/contracts by `python -m warehouse.contracts.docs`: change the contracts, not this page. -->

Every dataset that lands and every table that is kept. A column that may be null is marked `null`; ranges are
inclusive. Delta enforces nulls, ranges and allowed values on every write, and the quality checks judge each month by
the same contracts.
"""

_LAYERS = {
    "landing": "Landing: what is handed in",
    "bronze": "Bronze: as received, typed",
    "silver": "Silver: one row a fact, cleaned",
    "gold": "Gold: monthly tables and decisions",
    "vectors": "Vectors: kept in LanceDB, versions by tag",
    "serving": "Serving: what was published",
}


def render() -> str:
    """The page's text."""
    layers = _by_layer()
    parts = [_INTRO, "\n".join(_contents(layers))]
    parts += ["\n".join(_landing())]
    for layer, tables in layers.items():
        parts.append(f"## {_LAYERS[layer]}\n")
        parts += ["\n".join(_table(table)) for table in tables]
        if layer == "bronze":
            parts.append("\n".join(_reasons()))
    return "\n".join(parts)


def _by_layer() -> dict[str, list[Table]]:
    """Section → its tables; the vector tables, gold by name, have a section of their own."""
    sections: dict[str, list[Table]] = {layer: [] for layer in _LAYERS}
    for table in contracts.TABLES.values():
        sections[table.layer].append(table)
    sections["vectors"] = list(contracts.VECTOR_TABLES.values())
    return {layer: tables for layer, tables in sections.items() if tables}


def _contents(layers: dict[str, list[Table]]) -> Iterator[str]:
    yield from ("| layer | table | one row |", "|---|---|---|")
    for dataset in DATASETS.values():
        yield f"| landing | [{dataset.name}](#{_anchor(f'landing/{dataset.name}')}) | {', '.join(dataset.key)} |"
    for layer, tables in layers.items():
        for table in tables:
            yield f"| {layer} | [{table.name.split('/')[1]}](#{_anchor(table.name)}) | {', '.join(table.key)} |"
    yield ""


def _landing() -> Iterator[str]:
    yield f"## {_LAYERS['landing']}\n"
    yield "Files below `landing/<dataset>/`: Parquet, CSV or NDJSON, the text formats plain or gzipped. Columns that"
    yield "are not listed are ignored. A row that breaks a rule goes to [quarantine](#bronzequarantine).\n"
    for dataset in DATASETS.values():
        yield from _dataset(dataset)


def _dataset(dataset: Dataset) -> Iterator[str]:
    yield f"### landing/{dataset.name}\n"
    yield f"{dataset.text}\n"
    needed = "required" if dataset.required else "optional"
    yield f"**Key** {_codes(dataset.key)} · **dated by** `{dataset.event_time}` · the dataset is {needed}\n"
    yield from _columns(dataset.columns, "required", "optional")
    for rule in dataset.rules:
        yield f"- `{rule.reason}` when `{rule.broken_when}`: {rule.mend}."
    if dataset.rules:
        yield ""


def _table(table: Table) -> Iterator[str]:
    yield f"### {table.name}\n"
    yield f"{table.text}\n"
    partition = f" · **partitioned by** {_codes(table.partition_by)}" if table.partition_by else ""
    yield f"**Key** {_codes(table.key)}{partition}\n"
    yield from _columns(table.columns, "", "null")


def _columns(columns: Sequence[Column], always: str, maybe: str) -> Iterator[str]:
    yield from (
        f"| column | type | {'null' if not always else 'needed'} | unit | values | what it is |",
        "|---|---|---|---|---|---|",
    )
    for column in columns:
        null = maybe if column.nullable else always
        cells = (f"`{column.name}`", type_text(column.type), null, column.unit or "", _values(column), column.text)
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""


def _reasons() -> Iterator[str]:
    yield "#### Reason codes of quarantine\n"
    yield from ("| reason | why the row or file was not used |", "|---|---|")
    for reason, text in REASONS.items():
        yield f"| `{reason}` | {text} |"
    yield ""


def type_text(data_type: pa.DataType) -> str:
    """A type as readers name it: ``string``, ``decimal(18, 2)``, ``list of string``, ``struct of …``."""
    if pa.types.is_struct(data_type):
        return f"struct of {', '.join(f'{field.name} {type_text(field.type)}' for field in data_type)}"
    if pa.types.is_fixed_size_list(data_type):
        return f"{data_type.list_size} × {type_text(data_type.value_type)}"
    if pa.types.is_list(data_type):
        return f"list of {type_text(data_type.value_type)}"
    if pa.types.is_decimal(data_type):
        return f"decimal({data_type.precision}, {data_type.scale})"
    if pa.types.is_timestamp(data_type):
        return "timestamp"
    if pa.types.is_date(data_type):
        return "date"
    return {"int32": "int", "int64": "long", "bool": "boolean"}.get(str(data_type), str(data_type))


def _values(column: Column) -> str:
    if column.allowed is not None:
        return _codes(column.allowed)
    if column.minimum is not None and column.maximum is not None:
        return f"{_number(column.minimum)} to {_number(column.maximum)}"
    if column.minimum is not None:
        return f"≥ {_number(column.minimum)}"
    return f"≤ {_number(column.maximum)}" if column.maximum is not None else ""


def _number(value: float) -> str:
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _anchor(heading: str) -> str:
    return heading.lower().replace("/", "")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    text = render()
    if not parser.parse_args(argv).check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE}")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/tables.md is out of date: run python -m warehouse.contracts.docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
