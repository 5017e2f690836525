"""gold/ranker_examples of the last months → gold/rankers: the month's rankers, with calibration and metrics.

A month's ranker learns from the month and those before it. What its scores mean is learned from how those of the ranker
before it came true in the month, which that one had not seen; where there is none, one is trained for this. Run by hand
with ``python -m jobs.rankers --month 2017-08``.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.probability_metrics import probability_metrics
from transforms.ranking import CODE_VERSION, OF_TARGET, Ranker, RankerParams, calibrate, train
from warehouse.boosting import MEND, lightgbm_problem
from warehouse.contracts.features import FEATURE_NAMES
from warehouse.contracts.gold import RANKER_EXAMPLES, RANKERS, TARGETS
from warehouse.contracts.table import arrow_schema
from warehouse.cores import available_cores
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/rankers``; a target with too little to learn from gets no row.

    A machine on which LightGBM cannot be loaded gets none at all: the forecast's probability stands, and the report
    says what to install.
    """
    params = RankerParams()
    problem = lightgbm_problem()
    unusable = f"{problem}; {MEND}" if problem else None
    rows: dict[str, int] = {}
    details: dict[str, object] = {}
    for month in sorted(months):
        # One target after the other: each training uses all cores, and one target's examples fill memory enough.
        taught = {target: _taught(lake, month, target, params, unusable) for target in TARGETS}
        details |= {target: told for target, (_, told) in taught.items()}
        rankers = [row for row, _ in taught.values() if row]
        frame = lake.spark.createDataFrame(pa.Table.from_pylist(rankers, schema=arrow_schema(RANKERS)))
        rows[month] = lake.replace_months(RANKERS, frame, [month])
    return JobReport(RANKERS.name, rows, details)


def _taught(
    lake: Lake, month: str, target: str, params: RankerParams, unusable: str | None
) -> tuple[dict[str, object] | None, object]:
    """The target's row, None if there is too little to learn from or it is ``unusable``, and what to report of it."""
    no_ranker = "no ranker, the forecast's probability stands"
    if unusable:
        return None, f"{unusable}: {no_ranker}"
    examples = read_examples(lake, month, target)
    bought = int(examples.is_bought.sum())
    if bought < params.min_bought:
        return None, f"{bought} purchases are too few to learn from: {no_ranker}"
    ranker, metrics = _train(examples, _ranker_before(lake, month, target), OF_TARGET[target])
    of_training = {"examples": len(examples.is_bought), "training_months": ", ".join(examples.months_found)}
    return _row(month, target, ranker, metrics, examples), {**of_training, **metrics}


def read_ranker(lake: Lake, month: str, target: str) -> Ranker | None:
    """The month's ranker of ``product`` or ``need``, or ``None`` where there was too little to learn from."""
    return _ranker(lake.read(RANKERS, [month]), target)


def _ranker_before(lake: Lake, month: str, target: str) -> Ranker | None:
    """That of the month before, if this code trained it: to another the features may have meant something else."""
    rankers = lake.read(RANKERS, [add_months(month, -1)])
    return _ranker(rankers.where(F.col("code_version").startswith(f"{CODE_VERSION},")), target)


def _ranker(rankers: DataFrame, target: str) -> Ranker | None:
    row = rankers.where(F.col("target") == target).select("models", "slope", "intercept").first()
    return Ranker(tuple(row.models), row.slope, row.intercept) if row else None


class Examples:
    """Examples of one target as arrays; the driver holds them all, which the thinning of negatives bounds."""

    def __init__(self, table: pa.Table) -> None:
        # In one order whatever the files': the trees then come out alike.
        table = table.sort_by([(name, "ascending") for name in RANKER_EXAMPLES.key])
        self.month = table["month"].to_numpy()
        self.months_found = sorted(set(self.month))
        self.is_bought = table["is_bought"].to_numpy()
        self.weight = table["weight"].to_numpy()
        self.features = feature_matrix(table)


def read_examples(lake: Lake, month: str, target: str) -> Examples:
    """What a ranker of the month learns from: examples of ``product`` or ``need`` of the months that end with it."""
    known = [*RANKER_EXAMPLES.key, "is_bought", "weight"]
    window = month_range(add_months(month, 1 - RankerParams().months), month)
    examples = lake.read(RANKER_EXAMPLES, window).where(F.col("target") == target)
    return Examples(examples.select(*known, *FEATURE_NAMES).toArrow())


def feature_matrix(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """The features of a table in the model's order: ``(rows, len(FEATURE_NAMES))``, float32, NaN where null."""
    matrix = np.empty((table.num_rows, len(FEATURE_NAMES)), dtype=np.float32)
    for place, name in enumerate(FEATURE_NAMES):
        matrix[:, place] = table.column(name).to_numpy(zero_copy_only=False)
    return matrix


def _train(examples: Examples, earlier: Ranker | None, params: RankerParams) -> tuple[Ranker, dict[str, float]]:
    """The ranker, calibrated, and how well the one before it foretold the month.

    Args:
        examples: of the month and those before it.
        earlier: the ranker of the month before, None if there is none.
        params: hyperparameters.
    """
    ranker = train(examples.features, examples.is_bought, examples.weight, params)
    last = examples.month == examples.months_found[-1]
    is_bought, weight = examples.is_bought[last], examples.weight[last]
    if is_bought.all() or not is_bought.any() or (earlier is None and last.all()):
        return ranker, {}  # the month teaches nothing, or there is nobody to have foretold it
    if earlier is None:
        before = ~last
        earlier = train(examples.features[before], examples.is_bought[before], examples.weight[before], params)
    raw = earlier.raw(examples.features[last], threads=available_cores())
    said = probability_metrics(earlier.calibrated(raw), is_bought, weight)
    return calibrate(ranker, raw, is_bought, weight), {name: round(value, 5) for name, value in said.items()}


def _row(month: str, target: str, ranker: Ranker, metrics: dict[str, float], examples: Examples) -> dict[str, object]:
    gain = np.sum([booster.feature_importance("gain") for booster in ranker.boosters], axis=0)
    return {
        "month": month,
        "target": target,
        "models": list(ranker.models),
        "slope": ranker.slope,
        "intercept": ranker.intercept,
        "training_months": examples.months_found,
        "examples": len(examples.is_bought),
        "features": list(FEATURE_NAMES),
        "importance": [float(value) for value in gain / max(gain.sum(), 1e-12)],
        "metrics": json.dumps(metrics, sort_keys=True),
        "code_version": f"{CODE_VERSION}, lightgbm {version('lightgbm')}",
    }


if __name__ == "__main__":
    run_job(run, __doc__)
