"""How good probabilities are: Brier score, log loss, AUC, calibration error, reliability, and what a list can promise.

Arrays in, numbers out. ``probability``, ``is_bought`` (bool) and ``weight`` (pairs that each stands for) have one value
a pair.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15


def probability_metrics(probability: np.ndarray, is_bought: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Brier score, log loss, area under the ROC curve and expected calibration error (bins of equal weight)."""
    from sklearn.metrics import log_loss, roc_auc_score

    order = np.argsort(probability, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    bins = np.minimum((share * BINS).astype(int), BINS - 1)
    gap = np.bincount(bins, (weight * (probability - is_bought))[order], minlength=BINS)
    return {
        "brier": float(np.average((probability - is_bought) ** 2, weights=weight)),
        "log_loss": float(log_loss(is_bought, probability, sample_weight=weight, labels=[False, True])),
        "auc": float(roc_auc_score(is_bought, probability, sample_weight=weight)),
        "ece": float(np.abs(gap).sum() / weight.sum()),
    }


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs of like probability: how many, what was said of them on average, and the share that was bought."""

    pairs: int
    said: float
    bought: float


def reliability(probability: np.ndarray, is_bought: np.ndarray, bins: int = 10) -> list[ReliabilityBin]:
    """The pairs in ``bins`` parts of equal number, from the least to the most likely."""
    order = np.argsort(probability, kind="stable")
    return [
        ReliabilityBin(len(part), float(probability[part].mean()), float(is_bought[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def recall_at_precision(probability: np.ndarray, is_bought: np.ndarray, precision: float) -> float:
    """Share of the purchases in the longest list, likeliest first, of which ``precision`` is bought; 0 if none."""
    order = np.argsort(-probability, kind="stable")
    found = np.cumsum(is_bought[order])
    long_enough = np.flatnonzero(found >= precision * np.arange(1, len(order) + 1))
    return float(found[long_enough[-1]] / found[-1]) if len(long_enough) else 0.0
