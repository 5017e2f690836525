"""The ranker: gradient-boosted trees that say how likely a pair is bought next month, and their calibration.

Arrays in, text or arrays out; nothing is read or stored here. Trees: LightGBM (Ke et al. 2017, "LightGBM: A Highly
Efficient Gradient Boosting Decision Tree"), binary objective. Calibration: isotonic regression (Zadrozny and Elkan
2002, "Transforming classifier scores into accurate multiclass probability estimates").
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from warehouse.contracts.features import FEATURE_NAMES

if TYPE_CHECKING:
    from lightgbm import Booster

CODE_VERSION = "ranker 2"
"""Raise it with every change of the features' meaning or of the training: it is stored with each model."""

MAX_KNOTS = 200


@dataclass(frozen=True)
class RankerParams:
    """Hyperparameters; chosen on target months up to 2017-09 of Complete Journey (docs/decisions-quality.md).

    Each tree sees ``example_share`` of the examples and ``feature_share`` of the features: trees that see less agree
    less, and their sum varies less, as an average over seeds does at three times the cost. ``negative_share``: share of
    the pairs not bought that are learned from, weighted up. ``months``: target months learned from. ``min_bought``:
    fewer positive examples than this teach nothing; the forecast stands in.
    """

    rounds: int = 100
    learning_rate: float = 0.06
    leaves: int = 31
    min_examples_a_leaf: int = 200
    example_share: float = 0.5
    feature_share: float = 0.3
    negative_share: float = 0.3
    months: int = 3
    min_bought: int = 200
    seed: int = 1


@dataclass(frozen=True)
class Ranker:
    """A trained model: LightGBM's own text, and the knots of its calibration (none: probabilities as they are)."""

    model: str
    raw_knots: tuple[float, ...] = ()
    calibrated_knots: tuple[float, ...] = ()

    @cached_property
    def booster(self) -> "Booster":
        """The model, parsed once a process."""
        import lightgbm

        return lightgbm.Booster(model_str=self.model)

    def raw(self, features: np.ndarray) -> np.ndarray:
        """Uncalibrated probability, which orders without ties.

        Args:
            features: ``(pairs, len(FEATURE_NAMES))``, float32; NaN where unknown.
        """
        # One thread a task: the tasks are as many as the cores.
        return np.asarray(self.booster.predict(features, num_threads=1), dtype=np.float64)

    def calibrated(self, raw: np.ndarray) -> np.ndarray:
        """Probability of a purchase next month, shape as given."""
        return np.interp(raw, self.raw_knots, self.calibrated_knots) if self.raw_knots else raw


def train(features: np.ndarray, is_bought: np.ndarray, weight: np.ndarray, params: RankerParams) -> Ranker:
    """An uncalibrated ranker.

    Args:
        features: ``(examples, len(FEATURE_NAMES))``, float32.
        is_bought: ``(examples,)``, bool.
        weight: ``(examples,)``: how many pairs an example stands for.
        params: hyperparameters.
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
        "seed": params.seed,
        "deterministic": True,
        "force_row_wise": True,
        # Two threads on two busy cores stall for minutes.
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(features, is_bought.astype(np.float32), weight=weight, feature_name=list(FEATURE_NAMES))
    return Ranker(lightgbm.train(settings, data, params.rounds).model_to_string())


def calibrate(ranker: Ranker, raw: np.ndarray, is_bought: np.ndarray, weight: np.ndarray) -> Ranker:
    """The ranker with an isotonic calibration learned from examples that it was not trained on."""
    return Ranker(ranker.model, *isotonic_knots(raw, is_bought, weight))


def isotonic_knots(
    raw: np.ndarray, is_bought: np.ndarray, weight: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scores, ascending, and the probability that each means; between them it is interpolated.

    The few pairs at either end are all bought, or none is; Laplace's rule of succession keeps their step from saying
    that the next such pair is certain.
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, is_bought, sample_weight=weight)
    steps, step_of = np.unique(fitted.predict(raw), return_inverse=True)
    pairs = np.bincount(step_of, weights=weight)
    cautious = np.maximum.accumulate((steps * pairs + 1) / (pairs + 2))
    raw_knots, knots = fitted.X_thresholds_, np.interp(fitted.y_thresholds_, steps, cautious)
    if len(raw_knots) > MAX_KNOTS:
        some = np.unique(np.linspace(0, len(raw_knots) - 1, MAX_KNOTS).round().astype(int))
        raw_knots, knots = raw_knots[some], knots[some]
    return tuple(raw_knots.tolist()), tuple(knots.tolist())
