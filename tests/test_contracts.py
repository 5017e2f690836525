"""The contracts: every engine's rendering agrees, every table explains itself, the page is current."""

import re

import pyarrow as pa
import pytest

from warehouse.contracts import TABLES, VECTOR_TABLES
from warehouse.contracts.bronze import BY_DATASET, REASONS
from warehouse.contracts.docs import PAGE, main, render, type_text
from warehouse.contracts.landing import DATASETS
from warehouse.contracts.table import INT, STRING, Column, Table, arrow_schema, check_constraints, spark_schema

EVERY = {**TABLES, **VECTOR_TABLES}
every_table = pytest.mark.parametrize("table", EVERY.values(), ids=list(EVERY))
every_column = pytest.mark.parametrize(
    "column",
    [column for owner in (*EVERY.values(), *DATASETS.values()) for column in owner.columns],
    ids=[f"{owner.name}.{column.name}" for owner in (*EVERY.values(), *DATASETS.values()) for column in owner.columns],
)
UNIT_OF_NAME = {
    r"_usd$": "USD",
    r"_days?$|_days_sum$": "days",
    r"_at$": "UTC",
    r"_bytes$": "bytes",
    r"_tokens$": "tokens",
}


@every_table
def test_arrow_and_spark_agree_on_names_and_nulls(table: Table) -> None:
    arrow, spark = arrow_schema(table), spark_schema(table)
    assert tuple(arrow.names) == tuple(spark.names) == table.column_names
    assert [field.nullable for field in arrow] == [field.nullable for field in spark.fields]


@every_table
def test_key_and_partition_columns_are_never_null(table: Table) -> None:
    assert table.key
    assert not [name for name in (*table.key, *table.partition_by) if table.column(name).nullable]


@every_table
def test_every_check_parses_and_judges_in_spark(spark, table: Table) -> None:
    checks = check_constraints(table)
    empty = spark.createDataFrame([], spark_schema(table))
    judged = empty.selectExpr(*[f"({predicate}) AS `{name}`" for name, predicate in checks.items()] or ["true AS none"])
    assert {field.dataType.simpleString() for field in judged.schema.fields} == {"boolean"}


@every_table
def test_a_table_says_what_a_row_is(table: Table) -> None:
    assert len(table.text.split()) >= 4 and table.text.endswith(".")


@every_column
def test_a_column_explains_itself_and_bounds_fit_its_type(column: Column) -> None:
    assert column.text.strip()
    for pattern, unit in UNIT_OF_NAME.items():
        if re.search(pattern, column.name):
            assert column.unit == unit
    if column.allowed is not None:
        assert column.type == STRING and len(set(column.allowed)) == len(column.allowed)
    if column.minimum is not None or column.maximum is not None:
        kind = column.type
        assert pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def test_bronze_takes_every_landing_dataset_whole() -> None:
    assert set(BY_DATASET) == set(DATASETS)
    for name, dataset in DATASETS.items():
        assert set(dataset.column_names) <= set(BY_DATASET[name].column_names)


def test_a_row_rule_has_a_reason_code_of_quarantine() -> None:
    assert {rule.reason for dataset in DATASETS.values() for rule in dataset.rules} <= set(REASONS)


def test_checks_hold_ranges_and_allowed_values() -> None:
    columns = (Column("n", INT, "n", minimum=1, maximum=5), Column("s", STRING, "s", allowed=("a", "b")))
    checks = check_constraints(Table("gold/t", "t", ("n",), columns))
    assert checks == {"n_valid": "n >= 1 AND n <= 5", "s_valid": "s IN ('a', 'b')"}


def test_a_table_must_know_its_key() -> None:
    with pytest.raises(ValueError, match="unknown key columns"):
        Table("gold/t", "t", ("m",), (Column("n", INT, "n"),))


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run python -m warehouse.contracts.docs"


def test_the_page_names_every_table_column_and_reason() -> None:
    page = render()
    for owner in EVERY.values():
        section = page.split(f"### {owner.name}\n")[1].split("\n### ")[0]
        assert all(f"| `{name}` |" in section for name in owner.column_names)
    assert all(f"### landing/{name}\n" in page for name in DATASETS)
    assert all(f"| `{reason}` |" in page for reason in REASONS)


def test_check_fails_on_another_page(tmp_path, monkeypatch) -> None:
    page = tmp_path / "tables.md"
    monkeypatch.setattr("warehouse.contracts.docs.PAGE", page)
    assert main(["--check"]) == 1
    assert main([]) == 0 and main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert main(["--check"]) == 1


def test_types_are_named_for_readers() -> None:
    assert type_text(pa.list_(pa.struct([pa.field("a", pa.int32())]))) == "list of struct of a int"
    assert type_text(pa.list_(pa.float32(), 384)) == "384 × float"
    assert type_text(pa.timestamp("us", tz="UTC")) == "timestamp"
