"""Products that a customer has never bought and may try next month. Arrays in, arrays out.

A customer's proposals: what those who bought the same buy too (EASE, ``transforms/affinity.py``), what is new to many,
and what is new to many among the needs that the customer buys for. Boosted trees (``transforms/ranking.py``) order them
by :data:`FEATURES`. EASE knows no time, the trees do. Not here: reading the history, and what may not stand on a list
(``jobs/discoveries.py``).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import sparse

from transforms.ranking import RankerParams

ALSO_BOUGHT, TRENDING = "also_bought", "trending"
NEVER_DAYS = 999.0
"""Days since the latest purchase where there was none."""

FEATURES = (
    "alike",
    "alike_share_of_best",
    "trending",
    "trending_share_of_best",
    "need_purchases_15d",
    "need_purchases_45d",
    "need_products",
    "need_new_products",
    "need_since_last_days",
    "category_purchases_45d",
    "product_newcomers",
    "product_purchases_15d",
    "product_purchases_45d",
    "product_buyers",
    "product_trend",
    "product_share_of_need",
    "product_share_of_newcomers",
    "customer_purchases_15d",
    "customer_purchases_45d",
    "customer_products",
    "customer_new_products",
    "customer_since_last_days",
)
"""What the trees look at. ``alike``: EASE's score, ``trending``: it times the product's trend, each also as a share of
the customer's best. ``product_…`` are all customers' purchases, the others the customer's own: of the proposal's need,
its category, or all. Purchase days are weighted by recency; new is what was first bought lately."""


@dataclass(frozen=True)
class DiscoveryParams:
    """Bounds and hyperparameters (docs/decisions/0016-discovery.md).

    ``products``: how many may be discovered, those with the most buyers in the last ``recent_days``. ``ridge``: EASE's
    lambda; 500 had the greatest recall@10 of 100, 500 and 2,000 for the targets 2017-07 to 09 of Complete Journey.
    ``customers``: most customers whose purchases EASE learns from; ``taught``: most whose proposals the trees do.
    ``alike``, ``newcomers``, ``of_needs``: proposals of each kind. ``kept``: discoveries of a customer. ``trees``: how
    they are trained.
    """

    products: int = 2500
    recent_days: int = 60
    ridge: float = 500.0
    customers: int = 20_000
    taught: int = 5_000
    alike: int = 60
    newcomers: int = 40
    of_needs: int = 40
    kept: int = 20
    trees: RankerParams = field(
        default_factory=lambda: RankerParams(
            rounds=100,
            learning_rate=0.1,
            leaves=15,
            min_examples_a_leaf=100,
            example_share=1.0,
            feature_share=0.5,
            negative_share=0.2,
            months=2,
            seeds=1,
        )
    )


@dataclass(frozen=True)
class Shelf:
    """What may be discovered at the end of a month, and what all purchases say of it: arrays ``(products,)``.

    ``need`` and ``category`` are positions. ``buyers`` of all time; ``newcomers``, who bought it for the first time
    lately; purchase days weighted by half-lives of 15 and 45 days; its need's, by 15 days, and its need's newcomers.
    ``weights``: from :func:`transforms.affinity.item_weights`.
    """

    need: np.ndarray
    category: np.ndarray
    buyers: np.ndarray
    newcomers: np.ndarray
    purchases_15d: np.ndarray
    purchases_45d: np.ndarray
    need_purchases_15d: np.ndarray
    need_newcomers: np.ndarray
    weights: np.ndarray

    @property
    def needs(self) -> int:
        """How many needs it answers."""
        return int(self.need.max(initial=-1)) + 1

    @property
    def categories(self) -> int:
        """How many categories its products are of."""
        return int(self.category.max(initial=-1)) + 1

    @property
    def trend(self) -> np.ndarray:
        """How much of what was bought lately was bought just now; 0 to 1."""
        return self.purchases_15d / np.maximum(self.purchases_45d, 1e-9)

    @property
    def share_of_newcomers(self) -> np.ndarray:
        """Share of its need's newcomers that came to it."""
        return self.newcomers / np.maximum(self.need_newcomers, 1)


@dataclass(frozen=True)
class Histories:
    """What some customers have bought, one value a pair: arrays ``(pairs,)``; ``customers`` counts the customers.

    ``row``: the customer's position. ``product``, ``need``, ``category``: positions on the shelf, -1 where it holds no
    such. ``since_last`` and ``since_first`` in days before the month's end; ``purchases_…`` as in :class:`Shelf`.
    """

    customers: int
    row: np.ndarray
    product: np.ndarray
    need: np.ndarray
    category: np.ndarray
    since_last: np.ndarray
    since_first: np.ndarray
    purchases_15d: np.ndarray
    purchases_45d: np.ndarray


class Proposals:
    """The products proposed to some customers: ``row`` and ``product``, positions, one value a proposal."""

    def __init__(self, histories: Histories, shelf: Shelf, params: DiscoveryParams) -> None:
        self._histories, self._shelf, self._lately = histories, shelf, params.recent_days
        on_shelf = histories.product >= 0
        cells = (np.ones(on_shelf.sum(), np.float32), (histories.row[on_shelf], histories.product[on_shelf]))
        bought = sparse.csr_array(cells, shape=(histories.customers, len(shelf.need)))
        self._owned = bought.toarray() > 0
        # Popularity settles what the weights leave equal: of whom nothing is known gets what most buy.
        popularity = 1e-6 * shelf.buyers / max(shelf.buyers.max(initial=0), 1)
        self._alike = np.where(self._owned, -np.inf, np.asarray(bought @ shelf.weights, dtype=np.float64) + popularity)
        wanted = np.zeros_like(self._owned)
        by_need = self._need_purchases_45d[:, shelf.need] * shelf.share_of_newcomers
        newcomers = np.broadcast_to(shelf.newcomers, self._owned.shape)
        for worth, count in (
            (self._alike, params.alike),
            (newcomers, params.newcomers),
            (by_need, params.of_needs),
        ):
            open_to = np.where(self._owned, -np.inf, worth)
            best = np.argsort(-open_to, axis=1, kind="stable")[:, :count]
            np.put_along_axis(wanted, best, True, axis=1)
        self.row, self.product = np.nonzero(wanted & ~self._owned)

    def features(self) -> np.ndarray:
        """``(proposals, len(FEATURES))``, float32."""
        pairs, shelf, is_new = self._histories, self._shelf, self._is_new()
        share_of_need = shelf.purchases_15d / np.maximum(shelf.need_purchases_15d, 1e-9)
        columns = {
            "alike": self._alike[self.row, self.product],
            "alike_share_of_best": self._share_of_best(self._alike),
            "trending": self._trending[self.row, self.product],
            "trending_share_of_best": self._share_of_best(self._trending),
            "need_purchases_15d": self._of_need(self._by_need(pairs.purchases_15d)),
            "need_purchases_45d": self._of_need(self._need_purchases_45d),
            "need_products": self._of_need(self._by_need(1.0)),
            "need_new_products": self._of_need(self._by_need(is_new)),
            "need_since_last_days": self._need_since_last(),
            "category_purchases_45d": self._category_purchases(),
            "product_newcomers": shelf.newcomers[self.product],
            "product_purchases_15d": shelf.purchases_15d[self.product],
            "product_purchases_45d": shelf.purchases_45d[self.product],
            "product_buyers": shelf.buyers[self.product],
            "product_trend": shelf.trend[self.product],
            "product_share_of_need": share_of_need[self.product],
            "product_share_of_newcomers": shelf.share_of_newcomers[self.product],
            "customer_purchases_15d": self._of_customer(pairs.purchases_15d),
            "customer_purchases_45d": self._of_customer(pairs.purchases_45d),
            "customer_products": self._of_customer(1.0),
            "customer_new_products": self._of_customer(is_new),
            "customer_since_last_days": self._customer_since_last(),
        }
        return np.column_stack([columns[name] for name in FEATURES]).astype(np.float32)

    def related(self, chosen: np.ndarray) -> np.ndarray:
        """For each proposal at ``chosen`` the bought product that speaks most for it; -1 where none does."""
        rows, products = self.row[chosen], self.product[chosen]
        found = np.full(len(chosen), -1)
        for row in np.unique(rows):
            own = np.flatnonzero(self._owned[row])
            if len(own):
                of_row = rows == row
                speaks = self._shelf.weights[np.ix_(own, products[of_row])]
                found[of_row] = np.where(speaks.max(axis=0) > 0, own[speaks.argmax(axis=0)], -1)
        return found

    def _of_customer(self, values: np.ndarray | float) -> np.ndarray:
        each = np.broadcast_to(values, self._histories.row.shape)
        return np.bincount(self._histories.row, each, minlength=self._histories.customers)[self.row]

    def _of_need(self, values: np.ndarray) -> np.ndarray:
        return values[self.row, self._shelf.need[self.product]]

    def _share_of_best(self, worth: np.ndarray) -> np.ndarray:
        best = np.maximum(worth.max(axis=1, initial=0.0), 1e-6)
        return worth[self.row, self.product] / best[self.row]

    def _by(self, position: np.ndarray, count: int, values: np.ndarray | float) -> np.ndarray:
        """The pairs' values summed by customer and need or category: ``(customers, count)``."""
        known = position >= 0
        each = np.broadcast_to(values, position.shape)[known].astype(np.float64)
        cells = (each, (self._histories.row[known], position[known]))
        return sparse.coo_array(cells, shape=(self._histories.customers, count)).toarray()

    def _by_need(self, values: np.ndarray | float) -> np.ndarray:
        return self._by(self._histories.need, self._shelf.needs, values)

    @cached_property
    def _need_purchases_45d(self) -> np.ndarray:
        return self._by_need(self._histories.purchases_45d)

    @cached_property
    def _trending(self) -> np.ndarray:
        return np.maximum(self._alike, 0.0) * self._shelf.trend

    def _category_purchases(self) -> np.ndarray:
        sums = self._by(self._histories.category, self._shelf.categories, self._histories.purchases_45d)
        return sums[self.row, self._shelf.category[self.product]]

    def _need_since_last(self) -> np.ndarray:
        since = np.full((self._histories.customers, self._shelf.needs), NEVER_DAYS)
        known = self._histories.need >= 0
        at = (self._histories.row[known], self._histories.need[known])
        np.minimum.at(since, at, self._histories.since_last[known])
        return self._of_need(since)

    def _customer_since_last(self) -> np.ndarray:
        since = np.full(self._histories.customers, NEVER_DAYS)
        np.minimum.at(since, self._histories.row, self._histories.since_last)
        return since[self.row]

    def _is_new(self) -> np.ndarray:
        return (self._histories.since_first < self._lately).astype(np.float64)
