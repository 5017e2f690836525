"""Products that a customer has never bought and may try next month. Arrays in, arrays out.

A customer's proposals: what those who bought the same buy too (EASE, ``transforms/ease.py``), what is new to many,
what is new to many among the needs that the customer buys for, what customers of a like profile buy, and what is new
in the shop and reads like what the customer buys. Boosted trees (``transforms/ranking.py``) order them by
:data:`FEATURES`. EASE knows no time, the trees do. Not here: reading history and vectors (``jobs/proposals.py``), and
what may not stand on a list (``jobs/discoveries.py``).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import sparse

from transforms.ranking import RankerParams

ALSO_BOUGHT, NEW_ARRIVAL, TRENDING = "also_bought", "new_arrival", "trending"
PROFILE_NEIGHBOUR = "profile_neighbour"
NEVER_DAYS = 999.0
"""Days since the latest purchase where there was none."""

FEATURES = (
    "alike",
    "alike_share_of_best",
    "trending",
    "trending_share_of_best",
    "near",
    "neighbours",
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
the customer's best. ``near``: how much of what the customer bought lately reads like a new arrival; ``neighbours``: how
much customers of a like profile bought it lately. ``product_…`` are all customers' purchases, the others the customer's
own: of the proposal's need, its category, or all. Purchase days are weighted by recency; new is what was first bought
lately."""


@dataclass(frozen=True)
class DiscoveryParams:
    """Bounds and hyperparameters (docs/decisions/0016-discovery.md).

    ``products``: how many may be discovered, those with the most buyers in the last ``recent_days``. ``ridge``: EASE's
    lambda; 500 had the greatest recall@10 of 100, 500 and 2,000 for the targets 2017-07 to 09 of Complete Journey.
    ``customers``: most customers whose purchases EASE learns from; ``taught``: most whose proposals the trees do.
    ``arrivals``: how many products besides may be discovered that nobody had bought before ``recent_days``, too few for
    EASE, those with the most buyers first. ``min_similarity``: cosine below which a text is not near to theirs.
    ``peers``: most customers among whom those of a like profile are sought; the nearest ``neighbours`` count.
    ``alike``, ``newcomers``, ``of_needs``, ``of_neighbours``, ``of_arrivals``: proposals of each kind. ``kept``:
    discoveries of a customer. ``trees``: how they are trained.
    """

    products: int = 2500
    recent_days: int = 60
    ridge: float = 500.0
    customers: int = 20_000
    taught: int = 5_000
    alike: int = 60
    newcomers: int = 40
    of_needs: int = 40
    arrivals: int = 1000
    min_similarity: float = 0.7
    of_arrivals: int = 10
    peers: int = 5_000
    neighbours: int = 50
    of_neighbours: int = 30
    kept: int = 20
    trees: RankerParams = field(
        default_factory=lambda: RankerParams(
            rounds=100,
            learning_rate=0.1,
            leaves=15,
            min_examples_a_leaf=100,
            feature_share=0.5,
            negative_share=0.2,
            months=2,
        )
    )


@dataclass(frozen=True)
class Shelf:
    """What may be discovered at the end of a month, and what all purchases say of it: arrays ``(products,)``.

    ``need`` and ``category`` are positions. ``buyers`` of all time; ``newcomers``, who bought it for the first time
    lately; purchase days weighted by half-lives of 15 and 45 days; its need's, by 15 days, and its need's newcomers.
    ``weights``: from :func:`transforms.ease.item_weights`, of the products before the arrivals, which are the last.
    ``similarity``: ``(products, arrivals)``, cosine of the texts; 0 where they are not near to each other.
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
    similarity: np.ndarray

    @property
    def known(self) -> int:
        """How many products EASE knows; the arrivals come after them."""
        return len(self.weights)

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


@dataclass(frozen=True)
class Peers:
    """Some customers, their profiles and what they bought lately.

    ``profiles``: ``(peers, 384)``, unit length. ``bought``: ``(peers, products)``, purchase days weighted by recency.
    """

    profiles: np.ndarray
    bought: sparse.csr_array

    def buy(self, profiles: np.ndarray, neighbours: int) -> np.ndarray:
        """How much those of the likest profiles bought of each product, by likeness: ``(customers, products)``.

        Args:
            profiles: ``(customers, 384)``, unit length; zeros where none is known, and nobody is alike.
            neighbours: how many of the likest count. A customer who is a peer counts for themself too, which
                changes nothing: what they bought is not proposed to them.
        """
        likeness = np.maximum(profiles @ self.profiles.T, 0.0)
        count = min(neighbours, likeness.shape[1])
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        kept = np.take_along_axis(likeness, nearest, axis=1)
        rows = np.repeat(np.arange(len(profiles)), count)
        weights = sparse.csr_array((kept.ravel(), (rows, nearest.ravel())), shape=likeness.shape)
        return (weights @ self.bought).toarray()


class Proposals:
    """The products proposed to some customers: ``row`` and ``product``, positions, one value a proposal.

    ``peers_buy``: from :meth:`Peers.buy`, of these customers.
    """

    def __init__(self, histories: Histories, shelf: Shelf, peers_buy: np.ndarray, params: DiscoveryParams) -> None:
        self._histories, self._shelf, self._lately = histories, shelf, params.recent_days
        self._peers_buy = peers_buy
        bought = self._on_shelf(1.0)
        self._owned = bought.toarray() > 0
        self._alike, self._near = self._likeness(bought), self._nearness()
        by_need = self._need_purchases_45d[:, shelf.need] * shelf.share_of_newcomers
        newcomers = np.broadcast_to(shelf.newcomers, self._owned.shape)
        kinds = (
            (self._alike, params.alike),
            (newcomers, params.newcomers),
            (by_need, params.of_needs),
            (_if_any(self._near), params.of_arrivals),
            (_if_any(peers_buy), params.of_neighbours),
        )
        wanted = [_best(np.where(self._owned, -np.inf, worth), count) for worth, count in kinds]
        self.row, self.product = np.nonzero(np.logical_or.reduce(wanted))

    def _on_shelf(self, values: np.ndarray | float) -> sparse.csr_array:
        """The pairs' values by customer and product: ``(customers, products)``."""
        known = self._histories.product >= 0
        each = np.broadcast_to(values, known.shape)[known].astype(np.float32)
        cells = each, (self._histories.row[known], self._histories.product[known])
        return sparse.csr_array(cells, shape=(self._histories.customers, len(self._shelf.need)))

    def _likeness(self, bought: sparse.csr_array) -> np.ndarray:
        """EASE's score; of an arrival it knows nothing."""
        known, buyers = self._shelf.known, self._shelf.buyers
        # Popularity settles what the weights leave equal: of whom nothing is known gets what most buy.
        popularity = 1e-6 * buyers / max(buyers.max(initial=0), 1)
        scores = np.zeros(self._owned.shape) + popularity
        scores[:, :known] += bought[:, :known] @ self._shelf.weights
        return scores

    def _nearness(self) -> np.ndarray:
        """How much of what the customer bought lately reads like each arrival, times its buyers; 0 for the others."""
        near, known = np.zeros(self._owned.shape), self._shelf.known
        liked = self._on_shelf(self._histories.purchases_45d) @ self._shelf.similarity
        near[:, known:] = liked * self._shelf.buyers[known:]
        return near

    def features(self) -> np.ndarray:
        """``(proposals, len(FEATURES))``, float32."""
        pairs, shelf, is_new = self._histories, self._shelf, self._is_new()
        share_of_need = shelf.purchases_15d / np.maximum(shelf.need_purchases_15d, 1e-9)
        columns = {
            "alike": self._alike[self.row, self.product],
            "alike_share_of_best": self._share_of_best(self._alike),
            "trending": self._trending[self.row, self.product],
            "trending_share_of_best": self._share_of_best(self._trending),
            "near": self._near[self.row, self.product],
            "neighbours": self._peers_buy[self.row, self.product],
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
                speaks = self._speaks(own, products[of_row])
                found[of_row] = np.where(speaks.max(axis=0) > 0, own[speaks.argmax(axis=0)], -1)
        return found

    def sources(self, chosen: np.ndarray, related: np.ndarray) -> np.ndarray:
        """What speaks for each proposal at ``chosen``, of which ``related`` are the products bought."""
        rows, products = self.row[chosen], self.product[chosen]
        of_peers = np.where(self._peers_buy[rows, products] > 0, PROFILE_NEIGHBOUR, TRENDING)
        of_bought = np.where(products < self._shelf.known, ALSO_BOUGHT, NEW_ARRIVAL)
        return np.where(related < 0, of_peers, of_bought)

    def _speaks(self, bought: np.ndarray, products: np.ndarray) -> np.ndarray:
        """How much each product bought speaks for each of the others: EASE's weight, or for an arrival the likeness."""
        known, shelf = self._shelf.known, self._shelf
        arrival = products >= known
        speaks = np.zeros((len(bought), len(products)))
        speaks[:, arrival] = shelf.similarity[np.ix_(bought, products[arrival] - known)]
        by_ease = np.ix_(bought < known, ~arrival)
        speaks[by_ease] = shelf.weights[np.ix_(bought[bought < known], products[~arrival])]
        return speaks

    def _of_customer(self, values: np.ndarray | float) -> np.ndarray:
        each = np.broadcast_to(values, self._histories.row.shape)
        return np.bincount(self._histories.row, each, minlength=self._histories.customers)[self.row]

    def _of_need(self, values: np.ndarray) -> np.ndarray:
        return values[self.row, self._shelf.need[self.product]]

    def _share_of_best(self, worth: np.ndarray) -> np.ndarray:
        best = np.maximum(np.where(self._owned, 0.0, worth).max(axis=1, initial=0.0), 1e-6)
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


def _if_any(worth: np.ndarray) -> np.ndarray:
    """The worth, where there is any."""
    return np.where(worth > 0, worth, -np.inf)


def _best(worth: np.ndarray, count: int) -> np.ndarray:
    """Where the ``count`` greatest of each row are; what is worth minus infinity is none of them."""
    best = np.argsort(-worth, axis=1, kind="stable")[:, :count]
    found = np.zeros(worth.shape, dtype=bool)
    np.put_along_axis(found, best, True, axis=1)
    return found & np.isfinite(worth)
