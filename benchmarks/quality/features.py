"""Candidates and features for the trained ranking, from baskets before the one to be predicted and nothing else.

Here belongs what turns histories into rows of numbers; labels and training are in ``ranker``. Every statistic, of users
and of items, is taken from the histories handed in: a target basket, of whomever, never reaches a feature.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import linalg, sparse

from benchmarks.quality.methods import Tifuknn, chunks, nearest_users, neighbour_vectors, user_vectors, weighted_baskets
from benchmarks.quality.tafeng import History

# Scores whose best items become candidates, and of how many of the neighbours the near ones are.
CANDIDATE_SCORES = ("neighbours", "neighbours_late", "ease", "follows")
NEAR = 50
# A share of baskets below every item's, which keeps ratios finite.
RARE = 1e-5


@dataclass(frozen=True)
class FeatureSettings:
    """How candidates are found and what features weigh.

    ``per_source``: candidates a user from each source beyond the own items; ``half_lives``: of purchase counts, in
    baskets; ``ease_items`` and ``ease_penalty``: the most popular items that the item model covers, and its ridge.
    """

    tifuknn: Tifuknn = field(default_factory=Tifuknn)
    per_source: int = 40
    half_lives: tuple[float, ...] = (0.5, 1, 2, 4, 8)
    ease_items: int = 6000
    ease_penalty: float = 100.0


@dataclass(frozen=True)
class CandidateRows:
    """One row a user and candidate, by user and then item: ids int64 (rows,), ``values`` float32 (rows, features)."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]


class Sources:
    """All that features are computed from: sparse matrices (users, items), arrays an item, arrays a user."""

    def __init__(self, histories: Sequence[History], items: int, settings: FeatureSettings) -> None:
        self.histories = histories
        self.items = items
        self.settings = settings
        self.ages = [np.arange(len(history))[::-1] for history in histories]
        self.own = self._per_pair()
        self.vectors = user_vectors(histories, items, settings.tifuknn)
        users = np.arange(len(histories))
        self.nearest = nearest_users(self.vectors, users, users, settings.tifuknn.neighbours)
        self.late = self.own["share_0.5"]
        self.per_item = self._per_item()
        self.per_user = self._per_user()
        self.covered, self.ease = ease(self._weighted(np.ones_like), settings.ease_items, settings.ease_penalty)
        self.follows = follow_rates(histories, items)

    def _weighted(self, weight: Callable[[np.ndarray], np.ndarray]) -> sparse.csr_array:
        return weighted_baskets(self.histories, self.items, [weight(ages).astype(float) for ages in self.ages])

    def _per_pair(self) -> dict[str, sparse.csr_array]:
        last, first = last_and_first(self.histories, self.items)
        pairs = {
            "count": self._weighted(np.ones_like),
            "share": self._weighted(lambda ages: np.ones(len(ages)) / len(ages)),
        }
        for half_life in self.settings.half_lives:
            decay = [0.5 ** (ages / half_life) for ages in self.ages]
            shares = [weights / weights.sum() for weights in decay]
            pairs[f"share_{half_life:g}"] = weighted_baskets(self.histories, self.items, shares)
        return pairs | {"last_age": last, "first_age": first}

    def _per_item(self) -> dict[str, np.ndarray]:
        users = len(self.histories)
        count = self.own["count"]
        bought = count.sum(axis=0)
        buyers = np.bincount(count.indices, minlength=self.items)
        again = np.bincount(count.indices[count.data > 1], minlength=self.items)
        next_again, chances = self._repeats()
        popularity = self.own["share"].sum(axis=0) / users
        late = self.late.sum(axis=0) / users
        return {
            "item_buyers": buyers / users,
            "item_popularity": popularity,
            "item_late_popularity": late,
            "item_trend": np.log((late + RARE) / (popularity + RARE)),
            # Ten buyers' worth of the mean, so that rare items do not look certain.
            "item_repeat_buyers": (again + 10 * again.sum() / buyers.sum()) / (buyers + 10),
            "item_next_rate": (next_again + 10 * next_again.sum() / chances.sum()) / (chances + 10),
            "item_per_buyer": bought / np.maximum(buyers, 1),
        }

    def _repeats(self) -> tuple[np.ndarray, np.ndarray]:
        """How often an item was in a basket and in the next one, and how often it was in a basket that had a next."""
        chances, again = np.zeros(self.items), np.zeros(self.items)
        for history in self.histories:
            for basket, following in pairwise(history):
                chances[basket] += 1
                again[np.intersect1d(basket, following)] += 1
        return again, chances

    def _per_user(self) -> dict[str, np.ndarray]:
        histories, trend = self.histories, self.per_item["item_trend"]
        popularity = np.log(self.per_item["item_popularity"] + RARE)
        distinct = np.diff(self.own["count"].indptr)
        lines = self.own["count"].sum(axis=1)
        return {
            "user_baskets": np.array([len(history) for history in histories]),
            "user_size": np.array([np.mean([len(basket) for basket in history]) for history in histories]),
            "user_last_size": np.array([len(history[-1]) for history in histories]),
            "user_distinct": distinct,
            "user_repeat_share": 1 - distinct / lines,
            "user_last_trend": np.array([trend[history[-1]].mean() for history in histories]),
            "user_popularity": np.array([popularity[np.concatenate(history)].mean() for history in histories]),
        }

    def scores(self, users: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of all items for ``users`` (positions), each float64 (users, items)."""
        nearest = self.nearest[users]
        return {
            "neighbours": neighbour_vectors(self.vectors, nearest).toarray(),
            "neighbours_late": neighbour_vectors(self.late, nearest).toarray(),
            "near_neighbours": neighbour_vectors(self.vectors, nearest[:, :NEAR]).toarray(),
            "ease": self._covered(self.own["share_4"][users]),
            "ease_all": self._covered(self.own["share"][users].sign()),
            "follows": (self.late[users] @ self.follows).toarray(),
        }

    def _covered(self, profile: sparse.csr_array) -> np.ndarray:
        scores = np.zeros(profile.shape)
        scores[:, self.covered] = profile[:, self.covered] @ self.ease
        return scores


def last_and_first(histories: Sequence[History], items: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """How many baskets ago a pair's last and first purchases were, 1 for the newest: two float64 (users, items)."""
    last, first = [], []
    for history in histories:
        aged = list(zip(history, range(len(history), 0, -1), strict=True))
        last.append({item: age for basket, age in aged for item in basket.tolist()})
        first.append({item: age for basket, age in reversed(aged) for item in basket.tolist()})
    return _by_user(last, items), _by_user(first, items)


def _by_user(rows: list[dict[int, int]], items: int) -> sparse.csr_array:
    values = np.array([value for row in rows for value in row.values()], dtype=float)
    columns = np.array([item for row in rows for item in row])
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return sparse.csr_array((values, (users, columns)), shape=(len(rows), items))


def ease(counts: sparse.csr_array, covered: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """EASE's item weights on the ``covered`` most bought items: their ids, and float32 (covered, covered).

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equation 8. ``counts``: (users,
    items), of which only what is not zero matters.
    """
    bought = np.bincount(counts.indices, minlength=counts.shape[1])
    chosen = np.sort(np.argsort(-bought, kind="stable")[:covered])
    binary = counts[:, chosen].sign().astype(np.float32)
    gram = np.asfortranarray((binary.T @ binary).toarray())
    gram[np.diag_indices_from(gram)] += penalty
    factor, _ = linalg.lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return chosen, weights


def follow_rates(histories: Sequence[History], items: int) -> sparse.csr_array:
    """How often item j is in the basket right after one with i, over the root of how often i and j could be: (i, j).

    Unlike co-purchase it has a direction in time, and tells what comes next from what goes together.
    """
    before = [basket for history in histories for basket in history[:-1]]
    after = [basket for history in histories for basket in history[1:]]
    first, second = (
        sparse.csr_array(
            (np.ones(sum(map(len, side))), np.concatenate(side), np.cumsum([0, *map(len, side)])),
            shape=(len(side), items),
        )
        for side in (before, after)
    )
    follows = first.T @ second
    # Ten baskets' worth of nothing, so that two rare items that met once do not look tied.
    scale_first = sparse.diags_array(1 / np.sqrt(first.sum(axis=0) + 10))
    scale_second = sparse.diags_array(1 / np.sqrt(second.sum(axis=0) + 10))
    return sparse.csr_array(scale_first @ follows @ scale_second)


def candidate_rows(sources: Sources, users: np.ndarray) -> CandidateRows:
    """The candidates of ``users`` (positions in the histories) with their features."""
    users = np.sort(users)
    found = [_rows_of(sources, users[start:stop]) for start, stop in chunks(len(users))]
    return CandidateRows(
        users=np.concatenate([one.users for one in found]),
        items=np.concatenate([one.items for one in found]),
        values=np.concatenate([one.values for one in found]),
        names=found[0].names,
    )


def _rows_of(sources: Sources, users: np.ndarray) -> CandidateRows:
    scores = sources.scores(users)
    rows, items = np.nonzero(_candidates(sources, scores, users))
    columns = pair_features(sources, rows, items, users, scores)
    values = np.column_stack([column.astype(np.float32) for column in columns.values()])
    return CandidateRows(users[rows], items, values, tuple(columns))


def _candidates(sources: Sources, scores: dict[str, np.ndarray], users: np.ndarray) -> np.ndarray:
    """Which items are candidates, bool (users, items): the own ones, the best of every source, the popular ones."""
    size = sources.settings.per_source
    chosen = sources.own["count"][users].toarray() > 0
    for name in CANDIDATE_SCORES:
        # Items level with the last one come too: which of them a partition picks differs between processors.
        least = -np.partition(-scores[name], size - 1, axis=1)[:, size - 1 : size]
        chosen |= (scores[name] >= least) & (scores[name] > 0)
    chosen[:, np.argsort(-sources.per_item["item_late_popularity"], kind="stable")[:size]] = True
    return chosen


def pair_features(
    sources: Sources, rows: np.ndarray, items: np.ndarray, users: np.ndarray, scores: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The features of pairs of ``users[rows]`` and ``items``, each (pairs,); ``rows`` ascending as in ``scores``."""
    columns = {name: matrix[users].toarray()[rows, items] for name, matrix in sources.own.items()}
    columns["own"] = sources.vectors[users].toarray()[rows, items]
    count, last, first = columns["count"], columns["last_age"], columns["first_age"]
    gap = np.where(count > 1, (first - last) / np.maximum(count - 1, 1), np.nan)
    columns |= {"mean_gap": gap, "overdue": last / gap}
    columns |= {name: values[rows, items] for name, values in scores.items()}
    alpha = sources.settings.tifuknn.alpha
    columns["tifuknn"] = alpha * columns["own"] + (1 - alpha) * columns["neighbours"]
    ranked = ("tifuknn", "neighbours_late", "ease", "follows")
    columns |= {f"{name}_rank": _ranks(rows, columns[name]) for name in ranked}
    columns["lift"] = columns["neighbours_late"] / (sources.per_item["item_late_popularity"][items] + RARE)
    columns |= {name: values[items] for name, values in sources.per_item.items()}
    columns |= {name: values[users[rows]] for name, values in sources.per_user.items()}
    return columns


def _ranks(rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Each pair's place among its user's pairs, from 1, the highest score first."""
    order = np.lexsort((-scores, rows))
    starts = np.searchsorted(rows, rows)
    ranks = np.empty(len(rows))
    ranks[order] = np.arange(1, len(rows) + 1)
    return ranks - starts
