"""Judges a table's rows and figures by its contract's rules, and says which rows fail and why.

One Spark aggregate counts the rows that break each rule. Great Expectations judges these counts and the figures, and
where a rule is broken it judges the rows themselves, for the keys of some that fail. Figures and the choice:
``docs/decisions/0003-quality-checks.md``. Not here: what is expected (``quality/suites.py``), Dagster
(``quality/checks.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from quality.measures import Measure
from quality.suites import Reference, Rule, great_expectations, mark_known, rules_of, suite_of
from warehouse.contracts.table import Table

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context import AbstractDataContext
    from great_expectations.expectations.expectation import Expectation

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
    may_be_empty: bool | None = None,
    samples: int = 5,
) -> ValidationReport:
    """Judges a frame against its contract.

    Args:
        frame: the rows to judge: as a rule the months just written and no others.
        table: contract.
        references: foreign keys to follow.
        measures: figures to judge with the rows; those without a value are left out.
        may_be_empty: whether no rows at all are right; by default what the suites say of the table.
        samples: most failing rows to name for a rule.
    """
    told = [measure for measure in measures if measure.value is not None]
    values = {measure.name: float(measure.value) for measure in told if measure.value is not None}
    if set(frame.columns) != set(table.column_names):
        failed = [_wrong_columns(frame, table), *_judge(table, [], {}, told)]
        return ValidationReport(table.name, frame.count(), 1 + len(told), tuple(failed), values)
    rules = rules_of(table, references, may_be_empty=may_be_empty)
    marked = mark_known(frame, references)
    counts = marked.agg(F.count(F.lit(1)).alias("row_count"), *[rule.broken.alias(rule.name) for rule in rules]).first()
    broken = {rule.name: int(counts[rule.name]) for rule in rules}
    failed = _judge(table, rules, broken, told)
    samples_of = _find_rows(marked, table, [rule for rule in rules if broken[rule.name]], samples)
    failed = [replace(rule, **samples_of.get((rule.rule, rule.column), {})) for rule in failed]
    # One rule more: that the columns are those of the contract.
    return ValidationReport(table.name, counts["row_count"], 1 + len(rules) + len(told), tuple(failed), values)


def run_suite(
    kind: str, frame: Any, suite: "ExpectationSuite", result_format: str | dict
) -> list["ExpectationValidationResult"]:
    """Runs a suite over a frame in the process's one context: Spark where ``kind`` is ``rows``, else pandas."""
    # Straight on the batch: a validation kept in the context is written, read and compared each time it is run.
    batch = _batches(kind).get_batch(batch_parameters={"dataframe": frame})
    return batch.validate(suite, result_format=result_format).results


def _judge(
    table: Table, rules: Sequence[Rule], broken: Mapping[str, int], measures: Sequence[Measure]
) -> list[FailedRule]:
    """Judges the rows that break each rule, of which there may be none, and the measures: one row, one suite."""
    import pandas as pd

    figures: dict[str, float] = {}
    expectations = []
    for rule in rules:
        figures[rule.name] = float(broken[rule.name])
        meta = {"rule": rule.rule, "column": rule.column, "text": rule.text, "blocking": True}
        expectations.append(_between(rule.name, 0, 0, meta))
    for measure in measures:
        figures[measure.name] = float(measure.value)  # type: ignore[arg-type]
        text = f"{measure.text}; it is {measure.value:.4g}"
        meta = {"rule": measure.rule, "column": None, "text": text, "blocking": measure.is_blocking}
        expectations.append(_between(measure.name, measure.minimum, measure.maximum, meta))
    if not expectations:
        return []
    suite = great_expectations().ExpectationSuite(name=f"{table.name} figures", expectations=expectations)
    results = run_suite("figures", pd.DataFrame([figures]), suite, "BOOLEAN_ONLY")
    return [_failed_rule(result) for result in results if not result.success]


def _between(column: str, minimum: float, maximum: float, meta: dict[str, Any]) -> "Expectation":
    severity = "critical" if meta["blocking"] else "warning"
    expectations = great_expectations().expectations
    return expectations.ExpectColumnValuesToBeBetween(
        column=column, min_value=minimum, max_value=maximum, severity=severity, meta=meta
    )


def _find_rows(
    frame: DataFrame, table: Table, broken: Sequence[Rule], samples: int
) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Rule → how many rows break it, and the keys of some of them, by Great Expectations on the rows."""
    by_row = [rule for rule in broken if rule.rule != "rows"]
    if not by_row:
        return {}
    result_format = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": list(table.key),
        "partial_unexpected_count": 2 * samples,  # a key that stands twice is listed twice
        "return_unexpected_index_query": False,  # for the key it would be a window in a WHERE, which Spark refuses
    }
    found = {}
    for result in run_suite("rows", frame, suite_of(table, by_row), result_format):
        listed = result.result.get("partial_unexpected_index_list") or []
        keys = dict.fromkeys(tuple((name, _text(row.get(name))) for name in table.key) for row in listed)
        sample_keys = tuple(dict(key) for key in list(keys)[:samples])
        meta = result.expectation_config.meta
        found[meta["rule"], meta["column"]] = {
            "unexpected": result.result.get("unexpected_count"),
            "sample_keys": sample_keys,
        }
    return found


def _failed_rule(result: "ExpectationValidationResult") -> FailedRule:
    meta = result.expectation_config.meta
    text = meta["text"] + (" (Great Expectations could not judge it)" if _raised(result) else "")
    return FailedRule(meta["rule"], meta["column"], text, meta["blocking"])


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
    """Where frames go in: Spark for rows, pandas for the one row of figures."""
    sources = _context().data_sources
    # persist=False: by default Great Expectations caches every frame and never lets go of it.
    source = sources.add_spark(kind, persist=False) if kind == "rows" else sources.add_pandas(kind)
    return source.add_dataframe_asset(kind).add_batch_definition_whole_dataframe(kind)


def _raised(result: "ExpectationValidationResult") -> bool:
    info = result.exception_info or {}
    entries = [info] if "raised_exception" in info else info.values()
    return any(entry.get("raised_exception") for entry in entries)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
