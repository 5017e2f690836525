"""The ranker's features: what is known of a pair at the end of a month, with units.

One list from which the example table, the model and the docs take names and order. How each is computed is in
``transforms/pair_features.py``.
"""

from warehouse.contracts.table import FLOAT, Column

RANKER_HALF_LIVES_DAYS = (15, 45, 120)
"""Half-lives of purchase counts: what was bought lately, this season and all along, for the ranker to weigh."""


def decayed_name(half_life_days: int) -> str:
    """Column of purchase days weighted by that half-life."""
    return f"decayed_purchases_{half_life_days}d"


def need_days_name(half_life_days: int) -> str:
    """Column of the need's purchase days, split among its products, weighted by that half-life."""
    return f"need_days_{half_life_days}d"


def _feature(name: str, unit: str, text: str, nullable: bool = False) -> Column:
    return Column(name, FLOAT, text, unit=unit, nullable=nullable)


FEATURES = (
    _feature("pair_purchases_15d", "days", "pair: purchase days weighted by recency, half-life of 15 days"),
    _feature("pair_purchases_45d", "days", "pair: the same, 45 days"),
    _feature("pair_purchases_120d", "days", "pair: the same, 120 days"),
    _feature("pair_purchase_days", "days", "pair: days with an order so far"),
    _feature("pair_months_in_6", "months", "pair: months with an order among the last six"),
    _feature("pair_since_last_days", "days", "pair: since the latest purchase"),
    _feature("pair_since_first_days", "days", "pair: since the first purchase"),
    _feature("pair_gap_days", "days", "pair: recency-weighted mean gap; null without a gap", nullable=True),
    _feature("pair_gap_share", "share", "pair: days since the latest purchase over the expected gap"),
    _feature("pair_last_units", "units", "pair: units bought last time"),
    _feature("pair_units_per_order", "units", "pair: units an order"),
    _feature("pair_purchases_a_month", "days", "pair: purchase days in thirty days since the first"),
    _feature("pair_span_days", "days", "pair: from the first purchase to the latest"),
    _feature("pair_bought_this_month", "flag", "pair: 1 if bought in the month"),
    _feature("pair_share_of_need_45d", "share", "pair: its part of the need's purchases, half-life of 45 days"),
    _feature("need_purchases_15d", "days", "customer's purchases of the product's type, half-life of 15 days"),
    _feature("need_purchases_45d", "days", "customer's purchases of the type, 45 days"),
    _feature("need_purchases_120d", "days", "customer's purchases of the type, 120 days"),
    _feature("need_since_last_days", "days", "since the customer's latest purchase of the type"),
    _feature("need_products", "products", "products of the type that the customer has bought"),
    _feature("need_favourite_purchases_45d", "days", "purchases of the one that the customer buys most, 45 days"),
    _feature("need_purchase_days", "days", "days on which the customer bought of the type so far"),
    _feature("product_purchases_15d", "days", "all customers' purchases of the product, half-life of 15 days"),
    _feature("product_purchases_45d", "days", "all customers' purchases of the product, 45 days"),
    _feature("product_trend", "share", "its purchases by 15 days over those by 45"),
    _feature("product_share_of_need", "share", "its part of all customers' purchases of the type, 45 days"),
    _feature("product_gap_days", "days", "mean gap of the product's pairs, drawn to the type's"),
    _feature("product_buyers", "customers", "customers who have bought the product"),
    _feature("product_newcomer_share", "share", "share of them who first bought it in the last 45 days"),
    _feature("product_repeat_share", "share", "share of them who bought it on two days or more"),
)

FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
