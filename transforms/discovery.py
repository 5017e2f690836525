"""Products that a customer has never bought and may try next month. Arrays in, arrays out.

Source: EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data"), a linear item-item model in closed
form, on what each customer has ever bought; times how much of the product's trade is recent. A score is no probability:
isotonic regression makes one of it (Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass
probability estimates"). Not here: reading the history, and what may not stand on a list (``jobs/discoveries.py``).
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

ALSO_BOUGHT, TRENDING = "also_bought", "trending"
_MAX_KNOTS = 200


@dataclass(frozen=True)
class DiscoveryParams:
    """Bounds, and the one hyperparameter (docs/decisions/0016-discovery.md).

    ``products``: how many may be discovered, those with the most buyers in the last ``recent_days``. ``ridge``: EASE's
    lambda; 500 had the greatest recall@10 of 100, 500 and 2,000 for the targets 2017-07 to 09 of Complete Journey.
    ``customers``: most customers whose purchases the weights are learned from. ``kept``: discoveries of a customer.
    """

    products: int = 2500
    recent_days: int = 60
    ridge: float = 500.0
    customers: int = 20_000
    kept: int = 20


@dataclass(frozen=True)
class Discoveries:
    """The best products never bought: arrays ``(customers, kept)``, best first.

    ``product`` and ``related`` are positions; ``related`` is the bought product that speaks most for it, -1 for none:
    then only its popularity does. ``score`` orders one customer's products; -inf where there was no product left.
    """

    product: np.ndarray
    related: np.ndarray
    score: np.ndarray


def item_weights(bought: sparse.csr_array, ridge: float) -> np.ndarray:
    """EASE's weights: how much having bought a product (row) speaks for another (column); float32, zero diagonal.

    Args:
        bought: ``(customers, products)``, 1 where the customer has bought the product.
        ridge: lambda, in customers.
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


def discover(
    bought: sparse.csr_array, weights: np.ndarray, trend: np.ndarray, popularity: np.ndarray, kept: int
) -> Discoveries:
    """The ``kept`` best products that each customer has not bought.

    A customer of whom nothing is known gets the most popular ones: popularity settles what the weights leave equal.
    Trend matters since the weights know no time: what was bought in summer goes on speaking for ice cream in winter.

    Args:
        bought: ``(customers, products)``, 1 where bought.
        weights: from :func:`item_weights`.
        trend: ``(products,)``, how much of what was bought lately was bought just now; 0 to 1.
        popularity: ``(products,)``, recent buyers.
        kept: discoveries of a customer; fewer where there are not so many products.
    """
    kept = min(kept, len(popularity))
    owned = bought.toarray() > 0
    score = np.maximum(np.asarray(bought @ weights, dtype=np.float64), 0.0) * trend
    score += 1e-6 * popularity / max(popularity.max(initial=0), 1)
    score[owned] = -np.inf
    best = np.argsort(-score, axis=1, kind="stable")[:, :kept]
    related = np.full(best.shape, -1)
    for row in range(len(best)):
        own = np.flatnonzero(owned[row])
        if len(own):
            speaks = weights[np.ix_(own, best[row])]
            strongest = speaks.argmax(axis=0)
            related[row] = np.where(speaks.max(axis=0) > 0, own[strongest], -1)
    return Discoveries(best, related, np.take_along_axis(score, best, axis=1))


def isotonic_knots(score: np.ndarray, is_bought: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores, ascending, and the probability that each means; between them it is interpolated.

    The few discoveries at either end are all bought, or none is; Laplace's rule of succession keeps their step from
    saying that the next such one is certain.

    Args:
        score: ``(discoveries,)``.
        is_bought: ``(discoveries,)``, bool.
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(score, is_bought)
    steps, step_of = np.unique(fitted.predict(score), return_inverse=True)
    pairs = np.bincount(step_of)
    cautious = np.maximum.accumulate((steps * pairs + 1) / (pairs + 2))
    knots, probability = fitted.X_thresholds_, np.interp(fitted.y_thresholds_, steps, cautious)
    if len(knots) > _MAX_KNOTS:
        some = np.unique(np.linspace(0, len(knots) - 1, _MAX_KNOTS).round().astype(int))
        knots, probability = knots[some], probability[some]
    return knots, probability
