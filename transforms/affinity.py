"""How much what a customer buys speaks for an item: a linear item model in closed form. Arrays in, arrays out.

EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data"). Items are products, or needs. Not here: which
items are looked at, and reading the history (``jobs/affinities.py``).
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse


@dataclass(frozen=True)
class AffinityParams:
    """Bounds and hyperparameters (docs/decisions/0017-affinity.md).

    ``items``: how many have affinities, those with the most buyers in the last ``recent_days``. ``customers``: most
    customers whose purchases the model learns from. ``ridge``: lambda where items count as bought or not, in customers;
    ``ridge_lately``: where purchases count by recency.
    """

    items: int = 2000
    recent_days: int = 60
    customers: int = 20_000
    ridge: float = 500.0
    ridge_lately: float = 200.0


@dataclass(frozen=True)
class Purchases:
    """What some customers buy, one value a pair: arrays ``(pairs,)``; ``customers`` and ``items`` count both.

    ``customer`` and ``item`` are positions; ``decayed`` are purchase days weighted by recency.
    """

    customers: int
    items: int
    customer: np.ndarray
    item: np.ndarray
    decayed: np.ndarray

    def bought(self) -> sparse.csr_array:
        """``(customers, items)``: 1 where an item was ever bought."""
        return self._cells(np.ones(len(self.item)))

    def bought_lately(self) -> sparse.csr_array:
        """``(customers, items)``: log of 1 + the weighted purchase days."""
        return self._cells(np.log1p(self.decayed))

    def _cells(self, values: np.ndarray) -> sparse.csr_array:
        # In one order whatever the rows': sums then come out alike to the last bit.
        order = np.lexsort((self.item, self.customer))
        cells = values[order].astype(np.float32), (self.customer[order], self.item[order])
        return sparse.csr_array(cells, shape=(self.customers, self.items))


@dataclass(frozen=True)
class ItemModel:
    """Weights of both views of the purchases, each ``(items, items)``: how much a row's item speaks for a column's."""

    weights: np.ndarray
    weights_lately: np.ndarray

    def affinities(self, purchases: Purchases) -> tuple[np.ndarray, np.ndarray]:
        """For each pair how much the customer's other items speak for it, by ever and by lately: ``(pairs,)`` twice."""
        at = purchases.customer, purchases.item
        of_all, lately = purchases.bought() @ self.weights, purchases.bought_lately() @ self.weights_lately
        return of_all[at], lately[at]


def learn(purchases: Purchases, params: AffinityParams) -> ItemModel:
    """The item model of these purchases."""
    return ItemModel(
        weights=item_weights(purchases.bought(), params.ridge),
        weights_lately=item_weights(purchases.bought_lately(), params.ridge_lately),
    )


def item_weights(bought: sparse.csr_array, ridge: float) -> np.ndarray:
    """EASE's weights: how much having bought an item (row) speaks for another (column); float32, zero diagonal.

    Args:
        bought: ``(customers, items)``, 1 or a weight where the customer has bought the item.
        ridge: lambda, in the cells' unit, squared.
    """
    gram = np.asarray((bought.T @ bought).toarray(), dtype=np.float64)
    diagonal = np.arange(len(gram))
    gram[diagonal, diagonal] += ridge
    inverse = linalg.cho_solve(
        linalg.cho_factor(gram, overwrite_a=True, check_finite=False), np.eye(len(gram)), check_finite=False
    )
    weights = -inverse / np.diag(inverse)
    weights[diagonal, diagonal] = 0.0
    return weights.astype(np.float32)
