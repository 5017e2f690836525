"""gold/ranker_examples of the last months → gold/rankers: the month's rankers, with calibration and metrics.

A month's ranker learns from the month and those before it. What its scores mean is learned from how those of the ranker
before it came true in the month, which that one had not seen; where there is none, one is trained for this. Run by hand
with ``python -m jobs.rankers --month 2017-08``.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import pyarrow as pa

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
    problem = lightgbm_problem()
    rows: dict[str, int] = {}
    details: dict[str, object] = {}
    for month in sorted(months):
        found = _untaught(f"{problem}; {MEND}") if problem else _taught(lake, month)
        details |= {target: told for target, (_, told) in found.items()}
        rankers = pa.Table.from_pylist([row for row, _ in found.values() if row], schema=arrow_schema(RANKERS))
        rows[month] = lake.replace_months(RANKERS, rankers, [month]).rows
    return JobReport(RANKERS.name, rows, details)


Taught = dict[str, tuple[dict[str, object] | None, object]]
"""Target → its row, None where there is none, and what to report of it."""


def _untaught(why: str) -> Taught:
    return {target: (None, f"{why}: no ranker, the forecast's probability stands") for target in TARGETS}


def _taught(lake: Lake, month: str) -> Taught:
    examples = read_examples(lake, month)
    # Another code's ranker is of no use here: to it the features may have meant something else.
    before = {
        target: ranker
        for target, (ranker, code) in _rankers(lake, add_months(month, -1)).items()
        if code.startswith(f"{CODE_VERSION},")
    }
    # Side by side: a training uses one core.
    with ThreadPoolExecutor(min(len(TARGETS), available_cores())) as pool:
        jobs = {
            target: pool.submit(_taught_target, month, target, examples[target], before.get(target))
            for target in TARGETS
        }
        return {target: job.result() for target, job in jobs.items()}


def _taught_target(
    month: str, target: str, examples: "Examples", before: Ranker | None
) -> tuple[dict[str, object] | None, object]:
    params = OF_TARGET[target]
    bought = int(examples.is_bought.sum())
    if bought < params.min_bought:
        return _untaught(f"{bought} purchases are too few to learn from")[target]
    ranker, metrics = _train(examples, before, params)
    of_training = {"examples": len(examples.is_bought), "training_months": ", ".join(examples.months_found)}
    return _row(month, target, ranker, metrics, examples), {**of_training, **metrics}


def read_ranker(lake: Lake, month: str, target: str) -> Ranker | None:
    """The month's ranker of ``product`` or ``need``, or ``None`` where there was too little to learn from."""
    return _rankers(lake, month).get(target, (None, ""))[0]


def _rankers(lake: Lake, month: str) -> dict[str, tuple[Ranker, str]]:
    """Target → its ranker of the month, and the version of the code that trained it."""
    rows = lake.collect(RANKERS, [month], ["target", "model", "slope", "intercept", "code_version"]).to_pylist()
    return {row["target"]: (Ranker(row["model"], row["slope"], row["intercept"]), row["code_version"]) for row in rows}


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


def read_examples(lake: Lake, month: str) -> dict[str, Examples]:
    """What the rankers of a month learn from, by target: the examples of the months that end with it."""
    found = {}
    for target, params in OF_TARGET.items():
        window = month_range(add_months(month, 1 - params.months), month)
        found[target] = Examples(lake.collect(RANKER_EXAMPLES, window, where=[("target", "=", target)]))
    return found


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
    gain = ranker.booster.feature_importance("gain")
    return {
        "month": month,
        "target": target,
        "model": ranker.model,
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
