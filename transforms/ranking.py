"""The ranker: gradient-boosted trees that say how likely a pair is bought next month, and their calibration.

Arrays in, text or arrays out; nothing is read or stored here. Trees: LightGBM (Ke et al. 2017, "LightGBM: A Highly
Efficient Gradient Boosting Decision Tree"), binary objective. Calibration: a logistic regression on the score's
log-odds (Platt 1999, "Probabilistic outputs for support vector machines").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from warehouse.contracts.features import FEATURE_NAMES

if TYPE_CHECKING:
    from lightgbm import Booster

CODE_VERSION = "ranker 8"
"""Raise it with every change of the features' meaning or of the training: it is stored with each model."""

_LEAST = 1e-6


@dataclass(frozen=True)
class RankerParams:
    """Hyperparameters; chosen on target months up to 2017-09 of Complete Journey (docs/decisions-quality.md).

    Each tree sees ``feature_share`` of the features. ``negative_share``: share of the pairs not bought that are learned
    from, weighted up. ``months``: target months learned from. ``min_bought``: fewer positive examples than this teach
    nothing; the forecast stands in. ``most``: items of a customer that are learned from and scored, those bought most
    by recency; the bound also holds for an id that many customers share.
    """

    rounds: int = 75
    learning_rate: float = 0.12
    leaves: int = 20
    min_examples_a_leaf: int = 200
    feature_share: float = 0.3
    negative_share: float = 0.3
    months: int = 3
    min_bought: int = 200
    seed: int = 1
    most: int = 150


OF_TARGET = {"product": RankerParams(), "need": RankerParams(rounds=200, learning_rate=0.045, leaves=12)}
"""How the ranker of each target is trained. Needs are fewer and likelier, and gain by more and smaller steps."""

MOST_MONTHS = max(params.months for params in OF_TARGET.values())
"""Target months that examples are kept for."""


@dataclass(frozen=True)
class Ranker:
    """A trained model in LightGBM's own text, and its calibration, a line in log-odds (1 and 0: as it is)."""

    model: str
    slope: float = 1.0
    intercept: float = 0.0

    @cached_property
    def booster(self) -> "Booster":
        """The model, parsed once a process."""
        import lightgbm

        return lightgbm.Booster(model_str=self.model)

    def raw(self, features: np.ndarray, threads: int = 1) -> np.ndarray:
        """Uncalibrated probability, which orders without ties.

        Args:
            features: ``(pairs, len(FEATURE_NAMES))``, float32; NaN where unknown.
            threads: cores to use. One in a task of Spark's, for those are as many as the cores.
        """
        return self.booster.predict(features, num_threads=threads)

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
        "lambda_l2": 5.0,
        "max_bin": 127,
        "deterministic": True,
        "force_row_wise": True,
        # Two threads on two busy cores stall for minutes.
        "num_threads": 1,
        "verbosity": -1,
        "seed": params.seed,
    }
    data = lightgbm.Dataset(features, is_bought.astype(np.float32), weight=weight, feature_name=list(names))
    return Ranker(lightgbm.train(settings, data, params.rounds).model_to_string())


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
    return Ranker(ranker.model, float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def _log_odds(probability: np.ndarray) -> np.ndarray:
    known = np.clip(probability, _LEAST, 1.0 - _LEAST)
    return np.log(known / (1.0 - known))
