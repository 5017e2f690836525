"""Compares next-basket methods on Ta-Feng: ``python -m benchmarks.quality.run [--data FOLDER] [--json]``.

Prints a Markdown table (``--json``: the result itself) and writes benchmarks/results/quality_tafeng.json. It needs
LightGBM, under 4 GB of memory and some ten minutes of one core; start it with ``OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1``, under which the figures were measured. The test users are judged once, by what the
validation users chose.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.quality.features import FeatureSettings
from benchmarks.quality.methods import Tifuknn, rank_by_frequency, rank_by_tifuknn, seen_items
from benchmarks.quality.metrics import CUTOFFS, Judged, judge_lists, mean_metrics, paired_differences
from benchmarks.quality.ranker import (
    Examples,
    TreeSettings,
    history_examples,
    rank_candidates,
    target_examples,
    train,
    with_target_popularity,
)
from benchmarks.quality.tafeng import BasketData, TaFengAbsentError, read_tafeng, tafeng_folder

RESULTS = Path(__file__).parents[1] / "results" / "quality_tafeng.json"
PACKAGES = ("numpy", "scipy", "lightgbm")
SHOWN = ("recall@10", "ndcg@10", "phr@10", "repeat_recall@10", "explore_recall@10", "recall@20", "ndcg@20")
REFERENCES = ("gp_topfreq", "tifuknn", "tifuknn_train_pool")
CHOSEN_BY = "recall@10"
LEAVES = (31, 63)
TREES = (100, 200, 300)
LENGTH = max(CUTOFFS)

METHODS = {
    "gp_topfreq": "personal frequency, then the global list",
    "tifuknn": "TIFUKNN, neighbours from all other users' histories",
    "tifuknn_train_pool": "TIFUKNN, neighbours from train users' histories",
    "ranked_history": "trees; labels: all users' last history basket; nobody's target basket used",
    "ranked": "trees; labels: train users' target baskets; features from histories only",
    "ranked_leaking": "LEAKING: as ranked, and the items' popularity in train users' target baskets as a feature",
}

Lists = list[list[int]]


@dataclass(frozen=True)
class Outcome:
    """What one method gave: test users' figures; for trees what was chosen and every validated figure."""

    judged: Judged
    chosen: dict[str, int] | None = None
    validation: list[dict[str, float]] | None = None


class Stopwatch:
    """CPU seconds by the name of what took them; other work on the machine would stretch the clock's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Times the block."""
        started = time.process_time()
        yield
        self.seconds[name] = round(time.process_time() - started, 1)
        print(f"{name}: {self.seconds[name]} s", file=sys.stderr, flush=True)


def judge(data: BasketData, users: np.ndarray, lists: Lists) -> Judged:
    """The metrics of the lists of ``users`` against their targets."""
    seen = [seen_items(data.histories[user]) for user in users]
    return judge_lists(lists, [data.targets[user] for user in users], seen)


def untrained_methods(data: BasketData, parameters: Tifuknn) -> dict[str, Callable[[np.ndarray], Lists]]:
    """The published methods: each from users to their lists."""
    pools = {"tifuknn": np.arange(len(data.histories)), "tifuknn_train_pool": data.splits.train}

    def frequent(users: np.ndarray) -> Lists:
        return [rank_by_frequency(data.histories[user], data.popular, LENGTH) for user in users]

    def tifuknn(pool: np.ndarray) -> Callable[[np.ndarray], Lists]:
        return lambda users: rank_by_tifuknn(data.histories, data.items, users, pool, parameters, LENGTH)

    return {"gp_topfreq": frequent, **{name: tifuknn(pool) for name, pool in pools.items()}}


def choose_trees(data: BasketData, learn: Examples, judged_rows: Examples, settings: TreeSettings) -> Outcome:
    """Trains on ``learn`` with each number of leaves, lets the validation users choose, and judges the test users.

    ``judged_rows`` holds candidates of the validation and test users; their labels are not looked at. Boosting's first
    trees are what fewer trees would have been, so that each number of leaves is trained once.
    """
    validation, best, best_figure = [], None, -1.0
    held_out = judged_rows.of_users(data.splits.val).rows
    for leaves in LEAVES:
        model = train(learn, replace(settings, num_leaves=leaves, trees=max(TREES)))
        for trees in TREES:
            lists = rank_candidates(model, held_out, data.splits.val, LENGTH, trees)
            figure = mean_metrics(judge(data, data.splits.val, lists))[CHOSEN_BY]
            validation.append({"num_leaves": leaves, "trees": trees, CHOSEN_BY: round(figure, 6)})
            if figure > best_figure:
                best, best_figure = (model, leaves, trees), figure
    model, leaves, trees = best
    test_rows = judged_rows.of_users(data.splits.test).rows
    lists = rank_candidates(model, test_rows, data.splits.test, LENGTH, trees)
    chosen = {"num_leaves": leaves, "trees": trees}
    return Outcome(judge(data, data.splits.test, lists), chosen, validation)


def ranked_outcomes(
    data: BasketData, features: FeatureSettings, settings: TreeSettings, watch: Stopwatch
) -> dict[str, Outcome]:
    """The three ways to learn the ranking; the examples of each are let go before the next needs memory."""
    with watch.time("features_of_targets"):
        examples = target_examples(data, features)
    held_out = examples.of_users(np.concatenate([data.splits.val, data.splits.test]))
    examples = examples.of_users(data.splits.train)
    outcomes = {}
    with watch.time("ranked"):
        outcomes["ranked"] = choose_trees(data, examples, held_out, settings)
    examples = with_target_popularity(examples, data)
    with watch.time("ranked_leaking"):
        outcomes["ranked_leaking"] = choose_trees(data, examples, with_target_popularity(held_out, data), settings)
    del examples
    with watch.time("features_of_last_history_baskets"):
        examples = history_examples(data, features)
    with watch.time("ranked_history"):
        outcomes["ranked_history"] = choose_trees(data, examples, held_out, settings)
    return outcomes


def compare(data: BasketData, features: FeatureSettings, settings: TreeSettings) -> dict[str, object]:
    """Runs every method; the result is what the JSON file holds."""
    watch = Stopwatch()
    outcomes, validation = {}, {}
    for name, rank in untrained_methods(data, features.tifuknn).items():
        validation[name] = mean_metrics(judge(data, data.splits.val, rank(data.splits.val)))[CHOSEN_BY]
        with watch.time(name):
            outcomes[name] = Outcome(judge(data, data.splits.test, rank(data.splits.test)))
    outcomes |= ranked_outcomes(data, features, settings, watch)
    fixed = {name: value for name, value in asdict(settings).items() if name not in ("num_leaves", "trees")}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"python": platform.python_version(), "system": platform.system()},
        "packages": {name: version(name) for name in PACKAGES},
        "protocol": "A Next Basket Recommendation Reality Check (TOIS 2023), Ta-Feng, authors' fold 0",
        "users": {name: len(users) for name, users in asdict(data.splits).items()},
        "chosen_by": f"{CHOSEN_BY} of the validation users; the test users chose nothing",
        "calendar": "The protocol itself leaks calendar time: other users' histories can be later than a target.",
        "hyperparameters": {
            "features": asdict(features),
            "trees": fixed,
            "tried": {"num_leaves": LEAVES, "trees": TREES},
        },
        "cpu_seconds": watch.seconds,
        "methods": {name: _summary(name, outcomes, watch, validation) for name in METHODS},
    }


def _summary(
    name: str, outcomes: dict[str, Outcome], watch: Stopwatch, validation: dict[str, float]
) -> dict[str, object]:
    outcome = outcomes[name]
    figures = {
        "description": METHODS[name],
        "cpu_seconds": watch.seconds[name],
        "test": {metric: round(value, 6) for metric, value in mean_metrics(outcome.judged).items()},
        "minus": {
            other: _rounded(paired_differences(outcome.judged, outcomes[other].judged))
            for other in REFERENCES
            if other != name
        },
    }
    if outcome.chosen is None:
        return figures | {"validation": {CHOSEN_BY: round(validation[name], 6)}}
    return figures | {"chosen": outcome.chosen, "validation": outcome.validation}


def _rounded(differences: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {metric: {name: round(value, 6) for name, value in one.items()} for metric, one in differences.items()}


def markdown(result: dict) -> str:
    """The result as a table, and the paired differences below it."""
    lines = [f"| method | {' | '.join(SHOWN)} |", f"|---|{'--:|' * len(SHOWN)}"]
    for name, method in result["methods"].items():
        figures = " | ".join(format(method["test"][metric], ".4f") for metric in SHOWN)
        lines.append(f"| {name} | {figures} |")
    lines += ["", f"{CHOSEN_BY}, paired differences (standard error):", ""]
    for name, method in result["methods"].items():
        against = (
            f"{one[CHOSEN_BY]['difference']:+.4f} ({one[CHOSEN_BY]['standard_error']:.4f}) against {other}"
            for other, one in method["minus"].items()
        )
        lines.append(f"- {name}: {', '.join(against)}. {method['description']}.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the Ta-Feng files (default: REPLENISH_TAFENG)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    chosen = parser.parse_args(arguments)
    try:
        folder = tafeng_folder(chosen.data)
    except TaFengAbsentError as absent:
        parser.exit(2, f"{absent}\n")
    result = compare(read_tafeng(folder), FeatureSettings(), TreeSettings())
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2) if chosen.json else markdown(result))


if __name__ == "__main__":
    main()
