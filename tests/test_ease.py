"""EASE's item weights on made-up tastes."""

import numpy as np
import pytest
from scipy import sparse

from tests.test_discovery import two_tastes
from transforms.ease import item_weights


def test_weights_join_what_is_bought_by_the_same_people():
    weights = item_weights(sparse.csr_array(two_tastes()), ridge=5.0)
    assert np.diag(weights).tolist() == [0.0] * 6
    assert weights[0, 2] > 0.2
    assert abs(weights[0, 4]) < 0.05


def test_weights_solve_the_ridge_regression_of_each_product_on_the_others():
    bought = np.random.default_rng(1).random((40, 5)) < 0.4
    weights = item_weights(sparse.csr_array(bought.astype(np.float32)), ridge=3.0)
    others, target = bought[:, 1:].astype(float), bought[:, 0].astype(float)
    by_hand = np.linalg.solve(others.T @ others + 3.0 * np.eye(4), others.T @ target)
    assert weights[1:, 0] == pytest.approx(by_hand, abs=1e-5)
