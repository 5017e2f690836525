"""The ranker: gradient-boosted trees that say how likely a pair is bought next month, and their calibration.

Arrays in, text or arrays out; nothing is read or stored here. Trees: LightGBM (Ke et al. 2017, "LightGBM: A Highly
Efficient Gradient Boosting Decision Tree"), binary objective. Calibration: a logistic regression on the score's
log-odds (Platt 1999, "Probabilistic outputs for support vector machines").
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from warehouse.contracts.features import FEATURE_NAMES

if TYPE_CHECKING:
    from lightgbm import Booster

CODE_VERSION = "ranker 5"
"""Raise it with every change of the features' meaning or of the training: it is stored with each model."""

_LEAST = 1e-6


@dataclass(frozen=True)
class RankerParams:
    """Hyperparameters; chosen on target months up to 2017-09 of Complete Journey (docs/decisions-quality.md).

    Each tree sees ``example_share`` of the examples and ``feature_share`` of the features: trees that see less agree
    less, and their sum varies less. ``negative_share``: share of the pairs not bought that are learned from, weighted
    up. ``months``: target months learned from. ``min_bought``: fewer positive examples than this teach nothing; the
    forecast stands in. ``seeds``: trainings whose scores are averaged; they differ in what their trees see.
    """

    rounds: int = 150
    learning_rate: float = 0.06
    leaves: int = 20
    min_examples_a_leaf: int = 200
    example_share: float = 0.5
    feature_share: float = 0.3
    negative_share: float = 0.3
    months: int = 3
    min_bought: int = 200
    seed: int = 1
    seeds: int = 3


OF_TARGET = {"product": RankerParams(), "need": RankerParams(rounds=300, learning_rate=0.03, leaves=12, seeds=1)}
"""How the ranker of each target is trained. Needs are fewer and likelier, and gain by more and smaller steps; those
leave nothing for several trainings to add."""


@dataclass(frozen=True)
class Ranker:
    """Trained models: LightGBM's own text of each, and their calibration, a line in log-odds (1 and 0: as it is)."""

    models: tuple[str, ...]
    slope: float = 1.0
    intercept: float = 0.0

    @cached_property
    def boosters(self) -> "list[Booster]":
        """The models, parsed once a process."""
        import lightgbm

        return [lightgbm.Booster(model_str=model) for model in self.models]

    def raw(self, features: np.ndarray) -> np.ndarray:
        """Uncalibrated probability, which orders without ties.

        Args:
            features: ``(pairs, len(FEATURE_NAMES))``, float32; NaN where unknown.
        """
        # One thread a task: the tasks are as many as the cores.
        scores = [booster.predict(features, num_threads=1, raw_score=True) for booster in self.boosters]
        return 1.0 / (1.0 + np.exp(-np.mean(scores, axis=0)))

    def calibrated(self, raw: np.ndarray) -> np.ndarray:
        """Probability of a purchase next month, shape as given."""
        return 1.0 / (1.0 + np.exp(-(self.intercept + self.slope * _log_odds(raw))))


def train(
    features: np.ndarray,
    is_bought: np.ndarray,
    weight: np.ndarray,
    params: RankerParams,
    names: Sequence[str] = FEATURE_NAMES,
) -> Ranker:
    """An uncalibrated ranker.

    Args:
        features: ``(examples, len(names))``, float32.
        is_bought: ``(examples,)``, bool.
        weight: ``(examples,)``: how many pairs an example stands for.
        params: hyperparameters.
        names: the features' names, in order.
    """
    import lightgbm

    settings = {
        "objective": "binary",
        "learning_rate": params.learning_rate,
        "num_leaves": params.leaves,
        "min_data_in_leaf": min(params.min_examples_a_leaf, max(1, len(is_bought) // 50)),
        "feature_fraction": params.feature_share,
        "bagging_fraction": params.example_share,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "max_bin": 127,
        "deterministic": True,
        "force_row_wise": True,
        # Two threads on two busy cores stall for minutes.
        "num_threads": 1,
        "verbosity": -1,
    }

    def grow(seed: int) -> str:
        # A dataset each: LightGBM writes to what it trains on.
        data = lightgbm.Dataset(features, is_bought.astype(np.float32), weight=weight, feature_name=list(names))
        return lightgbm.train({**settings, "seed": seed}, data, params.rounds).model_to_string()

    # Side by side: one training uses one core.
    with ThreadPoolExecutor(params.seeds) as pool:
        return Ranker(tuple(pool.map(grow, range(params.seed, params.seed + params.seeds))))


def calibrate(ranker: Ranker, raw: np.ndarray, is_bought: np.ndarray, weight: np.ndarray) -> Ranker:
    """The ranker with a calibration learned from examples that whoever scored them was not trained on.

    Args:
        ranker: to be calibrated.
        raw: ``(examples,)``, scores of such a model, trained alike on as many months.
        is_bought: ``(examples,)``, bool; both kinds are there.
        weight: ``(examples,)``: how many pairs an example stands for.
    """
    from sklearn.linear_model import LogisticRegression

    # Two numbers from a hundred thousand examples: nothing is gained by drawing them to zero.
    fitted = LogisticRegression(C=1e6).fit(_log_odds(raw)[:, None], is_bought, sample_weight=weight)
    return Ranker(ranker.models, float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def _log_odds(probability: np.ndarray) -> np.ndarray:
    known = np.clip(probability, _LEAST, 1.0 - _LEAST)
    return np.log(known / (1.0 - known))
