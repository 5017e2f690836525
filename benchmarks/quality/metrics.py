"""The Reality Check's metrics for ranked lists, one figure a user, and their means and paired differences.

Here belong figures of lists against target baskets; what makes the lists does not.

Source of the protocol: Li, Jullien, Ariannezhad, de Rijke, "A Next Basket Recommendation Reality Check", ACM TOIS 2023.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

CUTOFFS = (10, 20)
NAMES = ("recall", "ndcg", "phr", "repeat_recall", "explore_recall")

Judged = dict[str, np.ndarray]


def judge_list(ranked: Sequence[int], truth: Iterable[int], seen: Iterable[int], k: int) -> dict[str, float]:
    """One user's metrics at ``k``: ``ranked`` item ids, best first; ``truth`` and ``seen`` item ids in any order.

    ``repeat_recall`` counts the truth's items that the user had bought before (``seen``), ``explore_recall`` the
    others; both are NaN where the truth has none. NDCG's ideal list holds the whole truth, also where that is longer
    than ``k``: so the protocol has it, and a full score is impossible for such users.
    """
    wanted, before = set(truth), set(seen)
    hits = [item in wanted for item in ranked[:k]]
    found = {item for item, hit in zip(ranked[:k], hits, strict=True) if hit}
    discounts = 1 / np.log2(np.arange(2, max(len(hits), len(wanted)) + 2))
    return {
        "recall": len(found) / len(wanted),
        "ndcg": float(discounts[: len(hits)][hits].sum() / discounts[: len(wanted)].sum()),
        "phr": float(any(hits)),
        "repeat_recall": _share(found & before, wanted & before),
        "explore_recall": _share(found - before, wanted - before),
    }


def judge_lists(
    lists: Sequence[Sequence[int]],
    truths: Sequence[Iterable[int]],
    seen: Sequence[Iterable[int]],
    cutoffs: Sequence[int] = CUTOFFS,
) -> Judged:
    """Every user's metrics: three sequences with an entry a user in, ``{"recall@10": float64 (users,), …}`` out."""
    judged: Judged = {}
    for k in cutoffs:
        rows = [judge_list(*user, k) for user in zip(lists, truths, seen, strict=True)]
        judged |= {f"{name}@{k}": np.array([row[name] for row in rows]) for name in NAMES}
    return judged


def mean_metrics(judged: Judged) -> dict[str, float]:
    """The mean of each metric over the users that have it: those without repeats have no repeat recall."""
    return {name: float(np.nanmean(values)) for name, values in judged.items()}


def paired_differences(judged: Judged, other: Judged) -> Mapping[str, dict[str, float]]:
    """``judged`` minus ``other``, user by user: the mean difference and its standard error, for each metric.

    Users differ far more from one another than methods do, so that only the paired error says what a gain is worth.
    """
    result = {}
    for name, values in judged.items():
        difference = (values - other[name])[~np.isnan(values)]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        result[name] = {"difference": float(difference.mean()), "standard_error": float(error)}
    return result


def _share(found: set[int], wanted: set[int]) -> float:
    return len(found) / len(wanted) if wanted else float("nan")
