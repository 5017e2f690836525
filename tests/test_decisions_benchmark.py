"""The parts of `make decisions-quality` that can be worked by hand: TIFUKNN's vectors, the tables, the plot, jitter."""

from datetime import date
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.households import replicated
from benchmarks.list_tables import TIFUKNN, discovery_table, lists_table, price_table, reference_table
from benchmarks.reliability_plot import reliability_svg
from benchmarks.tifuknn import CalendarTifuknn, user_vectors
from jobs.backtest import DISCOVERY, PRICED

PARAMS = CalendarTifuknn(groups=2, group_days=30, group_decay=0.8)


def test_a_group_s_baskets_weigh_alike_and_older_groups_less_and_the_oldest_is_open():
    # Customer 0: two baskets in the last 30 days, item 0 in both, item 1 in one; a basket of item 1 before.
    customer, item, age = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 0]), np.array([2, 9, 9, 40, 300])
    vectors = user_vectors(customer, item, age, (2, 2), PARAMS).toarray()
    assert vectors[0] == pytest.approx([2 / 2, (1 + 0.8) / 2])
    assert vectors[1] == pytest.approx([0.8 / 2, 0])


def results(method, **figures):
    known = {}
    for name in ("recall", "precision", "ndcg", "hit_rate", "discovery_recall"):
        for k in (10, 20):
            for prefix in ("", "need_"):
                known[f"{prefix}{name}@{k}"] = known[f"{prefix}{name}@{k}_se"] = 0.1
    known |= {"need_recall@10_vs_personal_top": 0.01, "recall@10_vs_personal_top": 0.02}
    known |= {f"{name}_se": 0.001 for name in ("need_recall@10_vs_personal_top", "recall@10_vs_personal_top")}
    return [{"method": method, "month": month, **known, **figures} for month in ("2017-10", "2017-11")]


def test_tables_hold_the_methods_that_were_judged():
    rows = results("ranker") + results("personal_top", **{"recall@10": 0.08}) + results(TIFUKNN) + results(DISCOVERY)
    table = lists_table(rows, "").splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in table[2:]] == ["ranker", TIFUKNN, "personal_top"]
    assert table[2].endswith("| +0.0200 ± 0.0010 |")
    assert "| personal_top | 0.0869 | 0.0800 |" in reference_table(rows)
    assert "| mean | discovery | 0.1000 | 0.1000 |" in discovery_table(rows)
    assert "| ranker_and_new | 0.0500 |" in price_table(rows + results(PRICED, **{"recall@20": 0.05}))


def test_the_plot_is_an_image_with_a_point_a_part():
    root = ElementTree.fromstring(reliability_svg([0.1, 0.5], [0.2, 0.5]))
    points = [element for element in root if element.tag.endswith("circle")]
    assert len(points) == 2
    first, second = ((float(point.get("cx")), float(point.get("cy"))) for point in points)
    assert first[0] < second[0] and first[1] > second[1], "more likely is to the right, bought more often is above"


def test_copies_are_other_customers_with_other_counts(spark):
    rows = [("c", "p", date(2017, 1, 1), date(2017, 5, 20), 2.0)]
    columns = "customer_id string, product_id string, first_ordered_date date, last_ordered_date date, "
    state = spark.createDataFrame(rows, columns + "decayed_purchases double")
    copies = replicated(state, 3).collect()
    assert {row.customer_id for row in copies} == {"c-1", "c-2", "c-3"}
    assert len({row.decayed_purchases for row in copies}) == 3
    assert all(1.6 <= row.decayed_purchases <= 2.4 for row in copies)
    assert all(date(2017, 5, 14) <= row.last_ordered_date <= date(2017, 5, 20) for row in copies)
