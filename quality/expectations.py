"""The key of a table as one Spark aggregate: the expectation that Great Expectations lacks.

Its own ``ExpectCompoundColumnsToBeUnique`` sorts the whole table in a window. Here rows less distinct keys is an
aggregate metric, which Great Expectations computes in the same Spark job as all null, range and value counts.
Not here: anything else. This module imports great_expectations, so import it inside functions only.
"""

from typing import Any, ClassVar

from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.execution_engine import SparkDFExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_partial
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from pyspark.sql import functions as F


class TableKeySurplus(TableMetricProvider):
    """Rows less distinct keys; nulls count as values, so a key of nulls is a key."""

    metric_name = "table.key_surplus"
    value_keys = ("column_list",)

    @metric_partial(
        engine=SparkDFExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
        domain_type=MetricDomainTypes.TABLE,
    )
    def _spark(
        cls,
        execution_engine: SparkDFExecutionEngine,
        metric_domain_kwargs: dict,
        metric_value_kwargs: dict,
        metrics: dict[str, Any],
        runtime_configuration: dict,
    ) -> tuple:
        distinct = F.count_distinct(F.struct(*metric_value_kwargs["column_list"]))
        return F.count(F.lit(1)) - distinct, metric_domain_kwargs, {}


class ExpectKeyToBeUnique(BatchExpectation):
    """Expects every row to have a key of its own; observes the surplus of rows over distinct keys."""

    column_list: list[str]

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.key_surplus",)
    success_keys: ClassVar[tuple[str, ...]] = ("column_list",)
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _validate(
        self, metrics: dict, runtime_configuration: dict | None = None, execution_engine: object = None
    ) -> dict:
        surplus = int(metrics["table.key_surplus"])
        return {"success": surplus == 0, "result": {"observed_value": surplus}}
