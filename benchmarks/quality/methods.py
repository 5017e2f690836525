"""The two published methods: GP-TopFreq and TIFUKNN.

Here belong methods that need no training; the trained ranking is in ``ranker``. Arrays of users keep the order in which
the users were given; items are columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from benchmarks.quality.tafeng import History

# Users whose dense scores are in memory at a time: 500 × 12,000 items × 8 bytes = 48 MB.
CHUNK = 500


def seen_items(history: History) -> np.ndarray:
    """The items of a history, each once, in the order in which they first appear (within a basket: the file's)."""
    return np.array(list(dict.fromkeys(np.concatenate(history).tolist())), dtype=np.int64)


def rank_by_frequency(history: History, popular: np.ndarray, k: int) -> list[int]:
    """GP-TopFreq's list of ``k`` items: the user's most frequent (first seen first among equals), then the global list.

    Source: the Reality Check's GP-TopFreq; its sort is stable, which settles ties by first appearance.
    """
    counts: dict[int, int] = {}
    for item in np.concatenate(history).tolist():
        counts[item] = counts.get(item, 0) + 1
    own = sorted(counts, key=lambda item: -counts[item])[:k]
    rest = (item for item in popular[: 2 * k + len(own)].tolist() if item not in own)
    return own + [item for item, _ in zip(rest, range(k - len(own)), strict=False)]


@dataclass(frozen=True)
class Tifuknn:
    """TIFUKNN's parameters; the default are those that the project's anchors give for Ta-Feng.

    ``neighbours``: how many (k). ``basket_decay`` (r_b): a basket's weight against the next of its group;
    ``group_decay`` (r_g): a group's against the next group. ``alpha``: the share of the user's own vector in the score.
    ``groups``: into how many groups a history is cut.

    Source: Hu, He, Gao, Zhang, "Modeling Personalized Item Frequency Information for Next-basket Recommendation",
    SIGIR 2020, sections 4.1 to 4.3.
    """

    neighbours: int = 300
    basket_decay: float = 0.9
    group_decay: float = 0.9
    alpha: float = 0.1
    groups: int = 11


def basket_weights(baskets: int, parameters: Tifuknn) -> np.ndarray:
    """The weight of each of a history's baskets in the user's vector: float64 (baskets,), the oldest first.

    Groups are consecutive; where they cannot be of one size, the later ones hold one basket more. A group's vector is
    the mean of its baskets, each times r_b to the number of baskets after it in the group; the user's is the mean of
    the groups', each times r_g to the number of groups after it. With fewer baskets than groups, each is a group.
    """
    groups = min(baskets, parameters.groups)
    small, larger = divmod(baskets, groups)
    sizes = [small] * (groups - larger) + [small + 1] * larger
    weights = [
        parameters.group_decay ** (groups - 1 - group)
        / groups
        * parameters.basket_decay ** np.arange(size)[::-1]
        / size
        for group, size in enumerate(sizes)
    ]
    return np.concatenate(weights)


def user_vectors(histories: Sequence[History], items: int, parameters: Tifuknn) -> sparse.csr_array:
    """Every user's vector of decayed frequencies: float64 (users, items)."""
    weights = [basket_weights(len(history), parameters) for history in histories]
    return weighted_baskets(histories, items, weights)


def weighted_baskets(histories: Sequence[History], items: int, weights: Sequence[np.ndarray]) -> sparse.csr_array:
    """The sum of a user's baskets, each (0 or 1 an item) times its weight: float64 (users, items), sorted columns.

    ``weights``: for each user float64 (baskets,).
    """
    sizes = [len(basket) for history in histories for basket in history]
    values = np.repeat(np.concatenate(weights), sizes)
    columns = np.concatenate([basket for history in histories for basket in history])
    rows = np.repeat(np.arange(len(histories)), [sum(map(len, history)) for history in histories])
    matrix = sparse.csr_array((values, (rows, columns)), shape=(len(histories), items))
    matrix.sum_duplicates()
    return matrix


def nearest_users(vectors: sparse.csr_array, users: np.ndarray, pool: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` users of ``pool`` nearest to each of ``users`` by Euclidean distance, never the user itself.

    Returns positions in ``vectors``, int64 (users, k). Equal distances are settled by the order of ``pool``.
    """
    lengths = vectors.multiply(vectors).sum(axis=1)
    nearest = np.empty((len(users), k), dtype=np.int64)
    for start in range(0, len(users), CHUNK):
        chunk = users[start : start + CHUNK]
        distances = lengths[pool] - 2 * (vectors[chunk] @ vectors[pool].T).toarray()
        # Sums in another order differ in the last digits; without rounding, equal distances would not be equal.
        distances = np.round(distances, 10)
        distances[chunk[:, None] == pool[None, :]] = np.inf
        nearest[start : start + CHUNK] = pool[np.argsort(distances, axis=1, kind="stable")[:, :k]]
    return nearest


def neighbour_vectors(vectors: sparse.csr_array, nearest: np.ndarray) -> sparse.csr_array:
    """The mean vector of each user's neighbours: positions int64 (users, k) in, float64 (users, items) out."""
    users, k = nearest.shape
    shares = sparse.csr_array(
        (np.full(users * k, 1 / k), nearest.ravel(), np.arange(0, users * k + 1, k)), shape=(users, vectors.shape[0])
    )
    return shares @ vectors


def rank_by_tifuknn(
    histories: Sequence[History], items: int, users: np.ndarray, pool: np.ndarray, parameters: Tifuknn, k: int
) -> list[list[int]]:
    """TIFUKNN's list of ``k`` items for each of ``users``, with neighbours from ``pool`` (positions, int64).

    The score is alpha times the user's own vector plus (1 - alpha) times the neighbours'. Ties: smaller id first.
    """
    vectors = user_vectors(histories, items, parameters)
    nearest = nearest_users(vectors, users, pool, parameters.neighbours)
    ranked: list[list[int]] = []
    for start, stop in chunks(len(users)):
        own = parameters.alpha * vectors[users[start:stop]]
        scores = own + (1 - parameters.alpha) * neighbour_vectors(vectors, nearest[start:stop])
        ranked += np.argsort(-scores.toarray(), axis=1, kind="stable")[:, :k].tolist()
    return ranked


def chunks(count: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """The bounds of consecutive chunks of at most ``size``."""
    for start in range(0, count, size):
        yield start, min(start + size, count)
