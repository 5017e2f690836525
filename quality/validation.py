"""Judges a table's rows and figures by its suite, and says which rows fail and why.

All expectations are first judged true or false, which costs Great Expectations two Spark aggregates whatever their
number; only those that fail are run again, for the count and the keys of some failing rows. Figures and the choice:
``docs/decisions/0003-quality-checks.md``. Not here: what is expected (``quality/suites.py``), Dagster
(``quality/checks.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from quality.measures import Measure
from quality.suites import Reference, great_expectations, mark_known, rows_expectation, suite_for
from warehouse.contracts.table import Table

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context import AbstractDataContext

SampleKey = dict[str, str | None]


@dataclass(frozen=True)
class FailedRule:
    """A rule that does not hold.

    ``unexpected`` counts the rows that break it, where rows do; ``sample_keys`` holds keys alone, as text.
    """

    rule: str
    column: str | None
    text: str
    blocking: bool
    unexpected: int | None = None
    sample_keys: tuple[SampleKey, ...] = ()

    def line(self) -> str:
        """One line for a person."""
        rows = "" if self.unexpected is None else f": broken by {self.unexpected:,} rows"
        keys = "; ".join(", ".join(f"{name} {value}" for name, value in key.items()) for key in self.sample_keys)
        return f"{self.text}{rows}{f', such as {keys}' if keys else ''}"


@dataclass(frozen=True)
class ValidationReport:
    """What came out of judging one table. ``evaluated`` counts the rules, ``measures`` holds the figures told."""

    table: str
    rows: int
    evaluated: int
    failed: tuple[FailedRule, ...]
    measures: Mapping[str, float]

    @property
    def success(self) -> bool:
        """Whether no blocking rule failed."""
        return not self.blocking_failures

    @property
    def blocking_failures(self) -> tuple[FailedRule, ...]:
        """Failed rules that stop the month."""
        return tuple(rule for rule in self.failed if rule.blocking)

    @property
    def warnings(self) -> tuple[FailedRule, ...]:
        """Failed rules that do not stop it."""
        return tuple(rule for rule in self.failed if not rule.blocking)

    def to_metadata(self) -> dict[str, Any]:
        """Compact JSON-able form."""
        failed = [{**asdict(rule), "sample_keys": list(rule.sample_keys)} for rule in self.failed]
        measures = {name: round(value, 6) for name, value in self.measures.items()}
        counts = {"rows": self.rows, "evaluated": self.evaluated}
        return {"table": self.table, "success": self.success, **counts, "failed": failed, "measures": measures}


def validate(
    frame: DataFrame,
    table: Table,
    *,
    references: Sequence[Reference] = (),
    measures: Sequence[Measure] = (),
    rows: int | None = None,
    may_be_empty: bool | None = None,
    samples: int = 5,
) -> ValidationReport:
    """Judges a frame against its contract.

    Args:
        frame: the rows to judge: as a rule the months just written and no others.
        table: contract.
        references: foreign keys to follow.
        measures: figures to judge with the rows; those without a value are left out.
        rows: how many rows there are, where the caller knows; counted otherwise.
        may_be_empty: whether no rows at all are right; by default what the suites say of the table.
        samples: most failing rows to name for a rule.
    """
    told = [measure for measure in measures if measure.value is not None]
    if set(frame.columns) == set(table.column_names):
        suite = suite_for(table, references, may_be_empty=may_be_empty)
        failed = _judge_rows(mark_known(frame, references), table, suite, samples)
        evaluated = len(suite.expectations)
    else:
        failed, evaluated = [_wrong_columns(frame, table)], 1
    failed += _judge_measures(table, told)
    values = {measure.name: float(measure.value) for measure in told}
    rows = frame.count() if rows is None else rows
    return ValidationReport(table.name, rows, evaluated + len(told), tuple(failed), values)


def run_suite(
    kind: str, frame: Any, suite: "ExpectationSuite", result_format: str | dict
) -> list["ExpectationValidationResult"]:
    """Runs a suite over a frame in the process's one context: Spark where ``kind`` is ``rows``, else pandas."""
    # Straight on the batch: a validation kept in the context is written, read and compared each time it is run.
    batch = _batches(kind).get_batch(batch_parameters={"dataframe": frame})
    return batch.validate(suite, result_format=result_format).results


def _judge_rows(frame: DataFrame, table: Table, suite: "ExpectationSuite", samples: int) -> list[FailedRule]:
    broken = [result for result in run_suite("rows", frame, suite, "BOOLEAN_ONLY") if not result.success]
    found = _find_rows(frame, table, suite, [_meta(result) for result in broken], samples)
    return [_failed_rule(result, found.get(_rule_id(_meta(result)))) for result in broken]


def _find_rows(
    frame: DataFrame, table: Table, suite: "ExpectationSuite", broken: list[dict], samples: int
) -> dict[tuple, tuple[int, tuple[SampleKey, ...]]]:
    """Rule → failing rows and the keys of some, for the rules that rows break."""
    wanted = {_rule_id(meta) for meta in broken if meta["rule"] not in {"columns", "rows"}}
    if not wanted:
        return {}
    by_row = [rows_expectation(table, e) for e in suite.expectations if _rule_id(e.meta) in wanted]
    again = great_expectations().ExpectationSuite(name=f"{table.name} failing rows", expectations=by_row)
    result_format = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": list(table.key),
        "partial_unexpected_count": 2 * samples,  # a key that stands twice is listed twice
        "return_unexpected_index_query": False,  # for the key it would be a window in a WHERE, which Spark refuses
    }
    found = {}
    for result in run_suite("rows", frame, again, result_format):
        listed = result.result.get("partial_unexpected_index_list") or []
        keys = dict.fromkeys(tuple((name, _text(row.get(name))) for name in table.key) for row in listed)
        count = result.result.get("unexpected_count")
        found[_rule_id(_meta(result))] = count, tuple(dict(key) for key in list(keys)[:samples])
    return found


def _judge_measures(table: Table, measures: Sequence[Measure]) -> list[FailedRule]:
    if not measures:
        return []
    import pandas as pd

    gx = great_expectations()
    expectations = [
        gx.expectations.ExpectColumnValuesToBeBetween(
            column=measure.name,
            min_value=measure.minimum,
            max_value=measure.maximum,
            severity="critical" if measure.is_blocking else "warning",
            meta={
                "rule": measure.rule,
                "column": None,
                "contract": table.name,
                "text": f"{measure.text}; it is {measure.value:.4g}",
                "blocking": measure.is_blocking,
            },
        )
        for measure in measures
    ]
    suite = gx.ExpectationSuite(name=f"{table.name} measures", expectations=expectations)
    row = pd.DataFrame({measure.name: [float(measure.value)] for measure in measures})  # type: ignore[arg-type]
    return [
        _failed_rule(result, None) for result in run_suite("measures", row, suite, "BOOLEAN_ONLY") if not result.success
    ]


def _failed_rule(result: "ExpectationValidationResult", found: tuple[int, tuple[SampleKey, ...]] | None) -> FailedRule:
    meta = _meta(result)
    count, keys = found or (None, ())
    text = meta["text"] + (" (Great Expectations could not judge it)" if _raised(result) else "")
    return FailedRule(meta["rule"], meta["column"], text, meta["blocking"], count, keys)


def _wrong_columns(frame: DataFrame, table: Table) -> FailedRule:
    missing = sorted(set(table.column_names) - set(frame.columns))
    unknown = sorted(set(frame.columns) - set(table.column_names))
    text = f"the columns are those of the contract; missing: {missing or 'none'}, unknown: {unknown or 'none'}"
    return FailedRule("columns", None, text, blocking=True)


@cache
def _context() -> "AbstractDataContext":
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


@cache
def _batches(kind: str) -> "BatchDefinition":
    """Where frames go in: Spark for rows, pandas for the one row of measures."""
    sources = _context().data_sources
    # persist=False: by default Great Expectations caches every frame and never lets go of it.
    source = sources.add_spark(kind, persist=False) if kind == "rows" else sources.add_pandas(kind)
    return source.add_dataframe_asset(kind).add_batch_definition_whole_dataframe(kind)


def _meta(result: "ExpectationValidationResult") -> dict:
    return result.expectation_config.meta


def _rule_id(meta: Mapping) -> tuple[str, str | None]:
    return meta["rule"], meta["column"]


def _raised(result: "ExpectationValidationResult") -> bool:
    info = result.exception_info or {}
    entries = [info] if "raised_exception" in info else info.values()
    return any(entry.get("raised_exception") for entry in entries)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
