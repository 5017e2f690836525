"""The product's idea of a decision on this data: candidates ranked by boosted trees.

Here belong labels, training and scoring; what a row says of a pair is in ``features``. LightGBM is loaded when a model
is trained, so that the other methods and their tests do without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.quality.features import CandidateRows, FeatureSettings, Sources, candidate_rows
from benchmarks.quality.tafeng import Basket, BasketData

if TYPE_CHECKING:
    import lightgbm


@dataclass(frozen=True)
class TreeSettings:
    """LightGBM's parameters under its own names; ``num_leaves`` and ``trees`` are chosen on the validation users.

    Of the others, ``min_data_in_leaf`` 1,000, ``feature_fraction`` 0.25 and another seed were tried there too: none
    differed by more than the validation's standard error, and the first values stayed.

    One thread: two on two busy cores stalled for minutes, and one makes sums, and so trees, the same in every run.
    """

    num_leaves: int = 31
    trees: int = 300
    learning_rate: float = 0.05
    min_data_in_leaf: int = 200
    feature_fraction: float = 0.5
    bagging_fraction: float = 0.8
    bagging_freq: int = 1
    lambda_l2: float = 10.0
    max_bin: int = 127
    seed: int = 1
    num_threads: int = 1

    def parameters(self) -> dict[str, object]:
        """What ``lightgbm.train`` takes, the number of trees aside."""
        chosen = {name: value for name, value in asdict(self).items() if name != "trees"}
        return {"objective": "binary", "verbose": -1, "deterministic": True, "force_row_wise": True, **chosen}


@dataclass(frozen=True)
class Examples:
    """Candidate rows and whether each item was in the basket to be predicted: ``labels`` bool (rows,)."""

    rows: CandidateRows
    labels: np.ndarray

    def of_users(self, users: np.ndarray) -> Examples:
        """The examples of ``users`` alone."""
        kept = np.isin(self.rows.users, users)
        rows = self.rows
        return Examples(
            replace(rows, users=rows.users[kept], items=rows.items[kept], values=rows.values[kept]), self.labels[kept]
        )


def history_examples(data: BasketData, settings: FeatureSettings) -> Examples:
    """Every user's last history basket as the label, features from the baskets before it: no target is touched."""
    earlier = [history[:-1] for history in data.histories]
    sources = Sources(earlier, data.items, settings)
    rows = candidate_rows(sources, np.arange(len(earlier)))
    return Examples(rows, are_bought(rows, [history[-1] for history in data.histories], data.items))


def target_examples(data: BasketData, settings: FeatureSettings) -> Examples:
    """Every user's target basket as the label, features from the whole history: train on ``train`` users' only."""
    sources = Sources(data.histories, data.items, settings)
    rows = candidate_rows(sources, np.arange(len(data.histories)))
    return Examples(rows, are_bought(rows, data.targets, data.items))


def are_bought(rows: CandidateRows, baskets: Sequence[Basket], items: int) -> np.ndarray:
    """Whether each row's item is in its user's basket, bool (rows,); ``baskets`` has an entry a user."""
    bought = np.concatenate([user * items + basket for user, basket in enumerate(baskets)])
    return np.isin(rows.users * items + rows.items, bought)


def with_target_popularity(examples: Examples, data: BasketData, folds: int = 5) -> Examples:
    """LEAKING. Adds the share of train users who have the item in their target basket.

    Other users' targets are of the same weeks as the one to be predicted, so this tells what sold in the future. It
    is here to show how much of a figure under this protocol such a statistic makes.

    Train users' rows get the share among the other folds of train users. Leaving out the row's own user alone would
    not do: a count that is one less for whoever bought the item tells the label, and trees find it (.145 for .183).
    """
    train_users = data.splits.train
    fold = np.full(len(data.targets), folds)
    fold[train_users] = np.arange(len(train_users)) % folds
    shares = np.zeros((folds + 1, data.items))
    for left_out in range(folds + 1):
        counted = train_users[fold[train_users] != left_out]
        bought = np.concatenate([data.targets[user] for user in counted])
        shares[left_out] = np.bincount(bought, minlength=data.items) / len(counted)
    rows = examples.rows
    column = shares[fold[rows.users], rows.items].astype(np.float32)
    values, names = np.column_stack([rows.values, column]), (*rows.names, "target_popularity")
    return replace(examples, rows=replace(rows, values=values, names=names))


def train(examples: Examples, settings: TreeSettings) -> lightgbm.Booster:
    """Trees on the binary objective over all candidates: no negative is left out, so none needs a weight."""
    import lightgbm

    table = lightgbm.Dataset(examples.rows.values, examples.labels, feature_name=list(examples.rows.names))
    return lightgbm.train(settings.parameters(), table, settings.trees)


def rank_candidates(
    model: lightgbm.Booster, rows: CandidateRows, users: np.ndarray, k: int, trees: int
) -> list[list[int]]:
    """The list of ``k`` items of each of ``users``, in that order, by the first ``trees`` trees; ties by smaller id."""
    scores = model.predict(rows.values, num_iteration=trees)
    order = np.lexsort((rows.items, -scores, rows.users))
    starts = np.searchsorted(rows.users[order], users)
    stops = np.searchsorted(rows.users[order], users, side="right")
    return [rows.items[order[start : min(start + k, stop)]].tolist() for start, stop in zip(starts, stops, strict=True)]
