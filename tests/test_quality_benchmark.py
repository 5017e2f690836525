"""The Ta-Feng benchmark: its metrics and methods by hand, and the published GP-TopFreq figures to six digits."""

import json
from math import isnan, log2

import numpy as np
import pytest

from benchmarks.quality import run
from benchmarks.quality.features import CandidateRows, FeatureSettings, ease, follow_rates, last_and_first
from benchmarks.quality.methods import (
    Tifuknn,
    basket_weights,
    nearest_users,
    neighbour_vectors,
    rank_by_frequency,
    rank_by_tifuknn,
    seen_items,
    user_vectors,
)
from benchmarks.quality.metrics import judge_list, judge_lists, mean_metrics, paired_differences
from benchmarks.quality.ranker import Examples, TreeSettings, are_bought, with_target_popularity
from benchmarks.quality.tafeng import VARIABLE, BasketData, Splits, TaFengAbsentError, read_tafeng, tafeng_folder


def baskets(*items_of_each: list[int]) -> list[np.ndarray]:
    return [np.array(items) for items in items_of_each]


def test_metrics_of_one_list():
    # Places 2 and 3 hit; 7 and 8 are in the truth and not in the list; 1 and 7 were bought before.
    judged = judge_list([5, 1, 2, 8], truth=[1, 2, 7, 8], seen=[1, 7, 9], k=3)
    assert judged["recall"] == 2 / 4
    assert judged["phr"] == 1
    assert judged["repeat_recall"] == 1 / 2
    assert judged["explore_recall"] == 1 / 2
    # The ideal has all four bought items, though the list has only three places.
    ideal = sum(1 / log2(place + 1) for place in (1, 2, 3, 4))
    assert judged["ndcg"] == pytest.approx((1 / log2(3) + 1 / log2(4)) / ideal)


def test_users_without_repeats_do_not_count_in_repeat_recall():
    judged = judge_lists([[1, 2], [1, 2]], truths=[[1], [1, 3]], seen=[[], [1, 3]], cutoffs=(2,))
    assert isnan(judged["repeat_recall@2"][0])
    assert isnan(judged["explore_recall@2"][1])
    assert mean_metrics(judged)["repeat_recall@2"] == 0.5
    assert mean_metrics(judged)["explore_recall@2"] == 1.0


def test_paired_difference():
    ours, other = ({"recall@10": np.array(values)} for values in ([0.5, 1.0, 0.0, np.nan], [0.5, 0.5, 0.25, np.nan]))
    paired = paired_differences(ours, other)["recall@10"]
    # Differences 0, 1/2, -1/4: their mean is 1/12, their sample variance 7/48, over three users.
    assert paired["difference"] == pytest.approx(1 / 12)
    assert paired["standard_error"] == pytest.approx((7 / 48 / 3) ** 0.5)


def test_frequency_settles_ties_by_first_appearance_and_fills_with_popular_items():
    history = baskets([4, 3], [3, 2], [4, 9])
    assert rank_by_frequency(history, popular=np.array([9, 7, 4, 8, 6]), k=6) == [4, 3, 2, 9, 7, 8]
    assert rank_by_frequency(history, popular=np.arange(10), k=2) == [4, 3]
    assert seen_items(history).tolist() == [4, 3, 2, 9]


def test_tifuknn_vector_by_hand():
    # Three baskets in two groups: the oldest alone, then two; r_b = 0.5 in a group, r_g = 0.8 between groups.
    parameters = Tifuknn(basket_decay=0.5, group_decay=0.8, groups=2)
    weights = basket_weights(3, parameters)
    assert weights == pytest.approx([0.8 / 2, 0.5 / 2 / 2, 1 / 2 / 2])
    vector = user_vectors([baskets([0, 1], [1], [1, 2])], 4, parameters).toarray()[0]
    assert vector == pytest.approx([0.4, 0.4 + 0.125 + 0.25, 0.25, 0])


def test_tifuknn_with_fewer_baskets_than_groups_has_a_group_a_basket():
    assert basket_weights(2, Tifuknn(group_decay=0.9)) == pytest.approx([0.9 / 2, 1 / 2])


def test_neighbours_are_others_and_ties_keep_order():
    histories = [baskets([0]), baskets([1]), baskets([1]), baskets([0, 1])]
    vectors = user_vectors(histories, 2, Tifuknn())
    nearest = nearest_users(vectors, np.array([1, 3]), np.arange(4), 2)
    assert nearest.tolist() == [[2, 3], [0, 1]]
    assert neighbour_vectors(vectors, nearest).toarray().tolist() == [[0.5, 1.0], [0.5, 0.5]]


def test_tifuknn_list():
    histories = [baskets([0]), baskets([0, 2])]
    parameters = Tifuknn(neighbours=1, alpha=0.4)
    # User 0: item 0 has 0.4 + 0.6, item 2 has 0.6, the rest nothing.
    assert rank_by_tifuknn(histories, 4, np.array([0]), np.arange(2), parameters, 3) == [[0, 2, 1]]


def test_recency_counts_baskets_from_the_newest():
    last, first = last_and_first([baskets([0, 1], [1], [2])], 4)
    assert last.toarray().tolist() == [[3, 2, 1, 0]]
    assert first.toarray().tolist() == [[3, 3, 1, 0]]


def test_ease_solves_its_ridge_regression():
    counts = user_vectors([baskets([0, 1]), baskets([0, 1, 2]), baskets([2]), baskets([3])], 4, Tifuknn())
    covered, weights = ease(counts, covered=3, penalty=1.0)
    assert covered.tolist() == [0, 1, 2]
    # Column 0 without itself: the ridge regression of item 0 on items 1 and 2.
    gram = np.array([[2, 1], [1, 2]]) + np.eye(2)
    assert weights[1:, 0] == pytest.approx(np.linalg.solve(gram, [2, 1]), rel=1e-5)
    assert np.diag(weights).tolist() == [0, 0, 0]


def test_what_follows_has_a_direction():
    rates = follow_rates([baskets([0], [1])], 2).toarray()
    assert rates == pytest.approx(np.array([[0, 1 / 11], [0, 0]]))


def test_absent_data_say_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(TaFengAbsentError, match="--data or REPLENISH_TAFENG"):
        tafeng_folder()
    with pytest.raises(SystemExit):
        run.main(["--data", str(tmp_path / "nowhere")])
    assert "tafeng_history.json" in capsys.readouterr().err


def made_up_shop(users: int = 90, items: int = 30) -> BasketData:
    """Users who buy from their own five items, and one at random, in four to six baskets and then once more."""
    draw = np.random.default_rng(1)
    habits = [draw.permutation(items)[:5] for _ in range(users)]
    bought = [
        [np.union1d(draw.permutation(habit)[:3], draw.integers(items)) for _ in range(draw.integers(5, 8))]
        for habit in habits
    ]
    splits = Splits(train=np.arange(0, 60), val=np.arange(60, 75), test=np.arange(75, 90))
    histories, targets = [baskets[:-1] for baskets in bought], [baskets[-1] for baskets in bought]
    return BasketData(histories, targets, splits, np.arange(items), items)


def test_target_popularity_leaves_out_the_rows_own_fold():
    shop = made_up_shop()
    users, item = np.array([0, 75]), shop.targets[0][0]
    rows = CandidateRows(users, np.array([item, item]), np.zeros((2, 1), np.float32), ("x",))
    labels = are_bought(rows, shop.targets, shop.items)
    assert labels.tolist() == [True, item in shop.targets[75]]
    leaking = with_target_popularity(Examples(rows, labels), shop, folds=2).rows
    has_item = np.array([item in shop.targets[user] for user in shop.splits.train])
    # User 0 is the first of the train users: with two folds, every other one is counted; user 75 is not a train user.
    assert leaking.values[:, 1] == pytest.approx([has_item[1::2].mean(), has_item.mean()])


def test_the_whole_comparison_on_a_made_up_shop():
    pytest.importorskip("lightgbm")
    features = FeatureSettings(tifuknn=Tifuknn(neighbours=5), per_source=4, ease_items=20)
    result, again = (run.compare(made_up_shop(), features, TreeSettings(min_data_in_leaf=5)) for _ in range(2))
    assert list(result["methods"]) == list(run.METHODS)
    assert [method["test"] for method in result["methods"].values()] == [
        method["test"] for method in again["methods"].values()
    ]
    assert result["methods"]["ranked"]["chosen"].keys() == {"num_leaves", "trees"}
    assert result["methods"]["ranked"]["minus"]["tifuknn"].keys() == result["methods"]["ranked"]["test"].keys()
    assert "| ranked_leaking | " in run.markdown(json.loads(json.dumps(result)))


@pytest.fixture(scope="module")
def tafeng():
    try:
        return read_tafeng(tafeng_folder())
    except TaFengAbsentError as absent:
        pytest.skip(str(absent))


def test_frequency_has_the_published_figures(tafeng):
    users = tafeng.splits.test
    lists = [rank_by_frequency(tafeng.histories[user], tafeng.popular, 20) for user in users]
    means = mean_metrics(run.judge(tafeng, users, lists))
    assert len(users) == 2772
    published = {
        "recall@10": 0.114488,
        "ndcg@10": 0.095147,
        "phr@10": 0.361833,
        "repeat_recall@10": 0.512327,
        "explore_recall@10": 0.013459,
        "recall@20": 0.162109,
        "ndcg@20": 0.114004,
    }
    assert {name: round(means[name], 6) for name in published} == published
