"""What may not stand on a list: each reason, their order, diets, the pantry guard and dismissals with their borders."""

from datetime import date, datetime

import pytest

from transforms.eligibility import (
    DROP_REASONS,
    PantryParams,
    breaks_diet,
    dismissed_lately,
    drop_reason,
    enough_at_home,
    months_to_read,
)
from warehouse.errors import PermanentError

PAIRS = {
    "product_id": "string",
    "consent_profiling": "boolean",
    "is_subscribable": "boolean",
    "is_in_stock": "boolean",
    "excluded_products": "array<string>",
    "diets": "array<string>",
    "dietary_tags": "array<string>",
    "is_dismissed": "boolean",
    "last_units": "int",
    "units_per_order": "double",
    "gap_days": "double",
    "last_ordered_date": "date",
    "month": "string",
}
BREAKS = {
    "no_consent": {"consent_profiling": False},
    "not_subscribable": {"is_subscribable": False},
    "out_of_stock": {"is_in_stock": False},
    "excluded": {"excluded_products": ["other", "p"]},
    "diet": {"diets": ["vegan"], "dietary_tags": ["halal"]},
    "dismissed": {"is_dismissed": True},
    "enough_at_home": {"last_units": 4, "units_per_order": 1.0, "gap_days": 30.0},
}
DATED = {"product_id": "p", "last_ordered_date": date(2017, 5, 20), "month": "2017-05"}


@pytest.fixture
def pairs(spark):
    schema = ", ".join(f"{name} {kind}" for name, kind in PAIRS.items())
    return lambda rows: spark.createDataFrame([tuple(row.get(name) for name in PAIRS) for row in rows], schema)


def judged(frame, column):
    return [row.found for row in frame.select(column.alias("found")).collect()]


class TestDropReason:
    def test_a_pair_counts_under_the_first_reason_that_holds(self, pairs):
        from_here_on = [DATED]
        for reason in reversed(DROP_REASONS):
            from_here_on.insert(0, from_here_on[0] | BREAKS[reason])
        frame = pairs(from_here_on)
        assert judged(frame, drop_reason()) == [*DROP_REASONS, None]

    def test_each_reason_holds_alone(self, pairs):
        assert judged(pairs([DATED | BREAKS[reason] for reason in DROP_REASONS]), drop_reason()) == list(DROP_REASONS)

    def test_what_is_not_known_does_not_forbid(self, pairs):
        assert judged(pairs([{}, {"excluded_products": [None, "other"], "product_id": "p"}]), drop_reason()) == [
            None,
            None,
        ]

    def test_without_the_guard_its_columns_are_not_read(self, pairs):
        frame = pairs([DATED | BREAKS["enough_at_home"], BREAKS["dismissed"]]).drop(
            "last_units", "units_per_order", "gap_days", "last_ordered_date", "month"
        )
        assert judged(frame, drop_reason(None)) == [None, "dismissed"]


def test_a_diet_is_broken_by_known_tags_that_lack_it(pairs):
    cases = [
        (["vegan"], ["vegan", "halal"], False),
        (["vegan"], ["halal"], True),
        (["vegan", "halal"], ["vegan"], True),
        (["vegan", "halal"], ["halal", "vegan"], False),
        (["Vegan "], [" VEGAN"], False),
        (["vegan", None, "", " "], ["vegan"], False),
        ([None], ["halal"], False),
        ([], ["halal"], False),
        (None, ["halal"], False),
        (["vegan"], None, False),
        (["vegan"], [], False),
        (["vegan"], [None, ""], False),
        (["vegan"], ["halal", None], True),
        (None, None, False),
    ]
    frame = pairs([{"diets": diets, "dietary_tags": tags} for diets, tags, _ in cases])
    assert judged(frame, breaks_diet()) == [broken for *_, broken in cases]


class TestEnoughAtHome:
    def test_stocking_up_that_outlasts_the_next_month(self, pairs):
        # From 2017-05-20 to 2017-06-30 are 41 days.
        stocked = DATED | {"units_per_order": 1.0}
        cases = [
            (stocked | {"last_units": 2, "gap_days": 20.6}, True),
            (stocked | {"last_units": 2, "gap_days": 20.5}, False),  # until the month's last day, not after it
            (stocked | {"last_units": 1, "gap_days": 300.0}, False),  # a slow mover, bought as usual
            (DATED | {"last_units": 3, "units_per_order": 1.6, "gap_days": 300.0}, False),
            (DATED | {"last_units": 3, "units_per_order": 1.5, "gap_days": 300.0}, True),
            (stocked | {"last_units": 2_000_000_000, "gap_days": 3650.0}, True),
        ]
        found = judged(pairs([row for row, _ in cases]), enough_at_home(PantryParams()))
        assert found == [expected for _, expected in cases]

    def test_the_threshold_is_a_parameter(self, pairs):
        frame = pairs([DATED | {"last_units": 3, "units_per_order": 1.0, "gap_days": 300.0}])
        assert judged(frame, enough_at_home(PantryParams(min_stock_up=3.0))) == [True]
        assert judged(frame, enough_at_home(PantryParams(min_stock_up=3.1))) == [False]

    def test_nulls_and_zeros_are_not_enough(self, pairs):
        full = DATED | BREAKS["enough_at_home"]
        read = ("last_units", "units_per_order", "gap_days", "last_ordered_date", "month")
        rows = [full | {name: None} for name in read]
        rows += [full | {"units_per_order": 0.0}, full | {"last_units": 0}, full | {"gap_days": 0.0}]
        assert judged(pairs(rows), enough_at_home(PantryParams())) == [False] * len(rows)


class TestDismissedLately:
    @pytest.fixture
    def dismissed(self, spark):
        def run(*events, days=30):
            rows = [
                (customer, product, kind, datetime.fromisoformat(at), date.fromisoformat(at[:10]))
                for customer, product, kind, at in events
            ]
            schema = "customer_id string, product_id string, kind string, occurred_at timestamp, occurred_date date"
            found = dismissed_lately(spark.createDataFrame(rows, schema), "2017-05", days).collect()
            assert all(row.is_dismissed for row in found)
            return sorted((row.customer_id, row.product_id) for row in found)

        return run

    def test_the_window_ends_with_the_month(self, dismissed):
        said = [
            ("c", "first_day", "list_dismissed", "2017-05-02 00:00"),
            ("c", "before", "list_dismissed", "2017-05-01 23:59"),
            ("c", "last_day", "list_dismissed", "2017-05-31 23:59"),
            ("c", "after", "list_dismissed", "2017-06-01 00:00"),
        ]
        assert dismissed(*said) == [("c", "first_day"), ("c", "last_day")]
        assert dismissed(*said, days=1) == [("c", "last_day")]
        assert dismissed(*said, days=0) == []

    def test_a_later_sign_of_interest_takes_it_back(self, dismissed):
        said = []
        for kind in ("add_to_cart", "wishlist", "list_clicked", "view", "remove_from_cart"):
            said += [("c", kind, "list_dismissed", "2017-05-10 10:00"), ("c", kind, kind, "2017-05-10 10:01")]
        assert dismissed(*said) == [("c", "remove_from_cart"), ("c", "view")]

    def test_interest_counts_only_if_later_same_and_in_time(self, dismissed):
        said = [("c", product, "list_dismissed", "2017-05-10 10:00") for product in ("p", "same_time", "next_month")]
        said += [
            ("c", "p", "list_clicked", "2017-05-10 09:59"),
            ("other", "p", "add_to_cart", "2017-05-11 10:00"),
            ("c", "another", "add_to_cart", "2017-05-11 10:00"),
            ("c", "same_time", "add_to_cart", "2017-05-10 10:00"),
            ("c", "next_month", "add_to_cart", "2017-06-01 10:00"),
        ]
        assert dismissed(*said) == [("c", "next_month"), ("c", "p"), ("c", "same_time")]

    def test_the_last_word_counts(self, dismissed):
        said = [
            ("c", "p", "list_dismissed", "2017-05-10 10:00"),
            ("c", "p", "add_to_cart", "2017-05-11 10:00"),
            ("c", "p", "list_dismissed", "2017-05-12 10:00"),
        ]
        assert dismissed(*said) == [("c", "p")]
        assert dismissed(*said, ("c", "p", "wishlist", "2017-05-13 10:00")) == []

    def test_a_whole_list_dismissed_says_nothing_of_its_products(self, dismissed):
        assert dismissed(("c", None, "list_dismissed", "2017-05-10 10:00")) == []


class TestMonthsToRead:
    @pytest.mark.parametrize(
        ("days", "months"),
        [
            (0, []),
            (1, ["2017-03"]),
            (31, ["2017-03"]),
            (32, ["2017-02", "2017-03"]),
            (59, ["2017-02", "2017-03"]),
            (90, ["2017-01", "2017-02", "2017-03"]),
            (91, ["2016-12", "2017-01", "2017-02", "2017-03"]),
        ],
    )
    def test_the_months_that_the_days_touch(self, days, months):
        assert months_to_read("2017-03", days) == months

    def test_a_month_must_be_one(self):
        with pytest.raises(PermanentError, match="is not a month"):
            months_to_read("2017-13", 90)
