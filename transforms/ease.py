"""EASE: a linear item model in closed form, which says how much one item of a customer speaks for another.

Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data". Not here: which items are looked at, and
reading the history (``jobs/proposals.py``).
"""

import numpy as np
from scipy import linalg, sparse


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
