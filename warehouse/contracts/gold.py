"""Gold: the monthly tables that decisions are made from, and the decisions.

A partition M depends on data up to the end of M only.
"""

import pyarrow as pa

from warehouse.contracts.features import FEATURES, RANKER_HALF_LIVES_DAYS, decayed_name, need_days_name
from warehouse.contracts.silver import MONTH
from warehouse.contracts.table import BOOL, DATE, DOUBLE, INT, LONG, STRING, STRINGS, USD, Column, Table

DECIDERS = ("policy", "openai", "sagemaker")
FINISH_REASONS = ("stop", "length", "content_filter", "error", "missing")
FALLBACK_REASONS = (
    "missing_answer",
    "request_failed",
    "not_finished",
    "invalid_json",
    "invalid_schema",
    "off_list",
    "duplicate_item",
    "impossible_quantity",
    "unsafe_text",
    "unfounded_number",
)

_CUSTOMER = Column("customer_id", STRING, "customer")
_PRODUCT = Column("product_id", STRING, "product")

_DECAYED = tuple(
    Column(decayed_name(days), DOUBLE, f"the same with a half-life of {days} days", minimum=0)
    for days in RANKER_HALF_LIVES_DAYS
)

_NEED_DAYS = (
    Column(
        "need_days",
        DOUBLE,
        "purchase days, each split among the products of the need bought on it: over the need they add up to its days",
        unit="days",
        minimum=0,
    ),
    *[
        Column(need_days_name(days), DOUBLE, f"the same with a half-life of {days} days", unit="days", minimum=0)
        for days in RANKER_HALF_LIVES_DAYS
    ],
)

PURCHASE_FREQUENCY = Table(
    name="gold/purchase_frequency",
    text="How often each customer bought each product in the month; only pairs bought in it.",
    key=("month", "customer_id", "product_id"),
    columns=(
        MONTH,
        _CUSTOMER,
        _PRODUCT,
        Column("orders", INT, "orders in which more was bought than taken back", unit="orders", minimum=0),
        Column("purchase_days", INT, "days on which such an order was made", unit="days", minimum=0),
        Column("units", INT, "units bought less units taken back", unit="units"),
        Column("spend_usd", USD, "paid less paid back", unit="USD"),
        Column("first_ordered_date", DATE, "first such day; null: only taken back", nullable=True),
        Column("last_ordered_date", DATE, "last such day", nullable=True),
        Column("gap_count", INT, "gaps between such days within the month", unit="gaps", minimum=0),
        Column("gap_days_sum", LONG, "sum of those gaps", unit="days", minimum=0),
        Column("gap_days_sum_of_squares", LONG, "sum of their squares", unit="days²", minimum=0),
        Column("weighted_gap_count", DOUBLE, "gaps weighted by recency at the end of the month", minimum=0),
        Column("weighted_gap_days", DOUBLE, "gap days so weighted", unit="days", minimum=0),
        Column("decayed_purchases", DOUBLE, "purchase days weighted by recency at the end of the month", minimum=0),
        *_DECAYED,
        *_NEED_DAYS,
        Column("last_units", INT, "units bought on the last such day; 0: only taken back", unit="units", minimum=0),
        Column("is_high_frequency", BOOL, "whether orders reach REPLENISH_HIGH_FREQUENCY_MIN_ORDERS"),
    ),
    partition_by=("month",),
)

REPLENISHMENT_STATE = Table(
    name="gold/replenishment_state",
    text="The running purchase history of every live pair at the end of the month, from last month's and this month's.",
    key=("month", "customer_id", "product_id"),
    columns=(
        MONTH,
        _CUSTOMER,
        _PRODUCT,
        Column("orders", LONG, "orders so far", unit="orders", minimum=0),
        Column("purchase_days", LONG, "days with an order so far", unit="days", minimum=0),
        Column("units", LONG, "units so far, returns netted", unit="units"),
        Column("spend_usd", USD, "paid so far, returns netted", unit="USD"),
        Column("months_active", INT, "months with an order", unit="months", minimum=0),
        Column("first_ordered_date", DATE, "first purchase"),
        Column("last_ordered_date", DATE, "latest purchase"),
        Column("gap_count", LONG, "gaps between purchase days", unit="gaps", minimum=0),
        Column("gap_days_sum", LONG, "sum of the gaps", unit="days", minimum=0),
        Column("gap_days_sum_of_squares", LONG, "sum of their squares", unit="days²", minimum=0),
        Column("weighted_gap_count", DOUBLE, "gaps weighted by recency", minimum=0),
        Column("weighted_gap_days", DOUBLE, "gap days weighted by recency", unit="days", minimum=0),
        Column("decayed_purchases", DOUBLE, "purchase days weighted by recency", minimum=0),
        *_DECAYED,
        *_NEED_DAYS,
        Column("last_units", INT, "units bought on the latest purchase day", unit="units", minimum=0),
        Column("recent_months", INT, "the last 24 months as bits, this month the lowest; 1: bought", minimum=0),
        Column("mean_gap_days", DOUBLE, "recency-weighted mean gap; null without a gap", nullable=True, unit="days"),
        Column("units_per_order", DOUBLE, "units an order", unit="units"),
    ),
    partition_by=("month",),
)

_PAIR = (
    Column("product_a", STRING, "product with the lesser id"),
    Column("product_b", STRING, "product with the greater id"),
)

COPURCHASE_COUNTS = Table(
    name="gold/copurchase_counts",
    text="Baskets of the month (a customer's day) that hold both products; product_a = product_b counts the product's "
    "own baskets, and the empty pair ('', '') all baskets. Summed over months for co-purchase.",
    key=("month", "product_a", "product_b"),
    columns=(MONTH, *_PAIR, Column("baskets", LONG, "baskets", unit="baskets", minimum=1)),
    partition_by=("month",),
)

COPURCHASE = Table(
    name="gold/copurchase",
    text="Products bought together over the window that ends with the month, the best partners of each product.",
    key=("month", "product_a", "product_b"),
    columns=(
        MONTH,
        *_PAIR,
        Column("baskets", LONG, "baskets with both", unit="baskets", minimum=1),
        Column("support", DOUBLE, "share of all baskets with both", minimum=0, maximum=1),
        Column("confidence_a_to_b", DOUBLE, "share of a's baskets that hold b", minimum=0, maximum=1),
        Column("confidence_b_to_a", DOUBLE, "share of b's baskets that hold a", minimum=0, maximum=1),
        Column("lift", DOUBLE, "support over what independence would give", minimum=0),
        Column("rank_of_b_for_a", INT, "place of b among a's partners by lift; null: not in its top N", nullable=True),
        Column("rank_of_a_for_b", INT, "place of a among b's partners; null: not in its top N", nullable=True),
    ),
    partition_by=("month",),
)

TARGETS = ("product", "need")
"""What a ranker scores: a customer's products, or their needs, each of which is the products of a type together."""

RANKER_EXAMPLES = Table(
    name="gold/ranker_examples",
    text="What the rankers learn from: a customer's products, and needs, as they stood at the end of the month before, "
    "and whether the month saw them bought. All that were, and a share of the others.",
    key=("month", "target", "customer_id", "item"),
    columns=(
        MONTH,
        Column("target", STRING, "what the item is", allowed=TARGETS),
        _CUSTOMER,
        Column("item", STRING, "product id, or the need"),
        Column("is_bought", BOOL, "whether it was bought in the month"),
        Column("weight", DOUBLE, "items that the example stands for", unit="items", minimum=1),
        *FEATURES,
    ),
    partition_by=("month",),
)

RANKERS = Table(
    name="gold/rankers",
    text="The rankers trained at the end of the month on the months up to it. No row: too few purchases to learn from, "
    "and the forecast's probability stands.",
    key=("month", "target"),
    columns=(
        MONTH,
        Column("target", STRING, "what is scored", allowed=TARGETS),
        Column("model", STRING, "the trees in LightGBM's text form"),
        Column("slope", DOUBLE, "calibration: log-odds = intercept + slope · log-odds of the trees; 1: none"),
        Column("intercept", DOUBLE, "calibration; 0: none"),
        Column("training_months", STRINGS, "target months learned from"),
        Column("examples", LONG, "examples learned from", unit="examples", minimum=1),
        Column("features", STRINGS, "features in the model's order"),
        Column("importance", pa.list_(DOUBLE), "share of the gain that each feature brought, same order"),
        Column(
            "metrics",
            STRING,
            "JSON: Brier score, log loss, AUC and calibration error of the ranker before it in the month",
        ),
        Column("code_version", STRING, "version of Replenish and of LightGBM"),
    ),
    partition_by=("month",),
)

CANDIDATES = Table(
    name="gold/candidates",
    text="Products that may stand on a customer's list for the next month, with the evidence for each.",
    key=("month", "customer_id", "product_id"),
    columns=(
        MONTH,
        _CUSTOMER,
        _PRODUCT,
        Column(
            "is_due",
            BOOL,
            "its rhythm (gaps shrunk to its type's) brings it next month, or it is likely then",
        ),
        Column("is_high_frequency", BOOL, "bought often this month"),
        Column("is_similar_in_history", BOOL, "bought before and similar to a due or high-frequency item"),
        Column("is_copurchased", BOOL, "bought before and bought together with a due or high-frequency item"),
        Column("probability", DOUBLE, "calibrated probability of a purchase next month", minimum=0, maximum=1),
        Column("need", STRING, "what the product is bought for: its type; the product itself where it has none"),
        Column("need_probability", DOUBLE, "calibrated probability that the need is bought for", minimum=0, maximum=1),
        Column("need_due_date", DATE, "day by whose end the need is as likely as not bought for"),
        Column("due_date", DATE, "day by whose end the product is as likely as not bought"),
        Column("due_date_p10", DATE, "one in ten such products is bought by then"),
        Column("due_date_p90", DATE, "nine in ten are; at most two years on"),
        Column("gap_days", DOUBLE, "expected days between purchases", unit="days", minimum=0),
        Column("units_per_order", DOUBLE, "units expected of the next order", unit="units", minimum=0),
        Column("orders_in_month", INT, "orders this month", unit="orders", minimum=0),
        Column("orders", LONG, "orders so far", unit="orders", minimum=0),
        Column("last_ordered_date", DATE, "latest purchase"),
        Column("related_product_id", STRING, "due or high-frequency item that led here", nullable=True),
        Column("similarity", DOUBLE, "cosine similarity to it", nullable=True, minimum=-1.001, maximum=1.001),
        Column("lift", DOUBLE, "co-purchase lift with it", nullable=True, minimum=0),
        Column("score", DOUBLE, "what orders a customer's candidates: the ranker's probability before calibration"),
        Column("need_score", DOUBLE, "what orders a customer's needs: likewise"),
    ),
    partition_by=("month",),
)

DISCOVERY_SOURCES = ("also_bought", "new_arrival", "profile_neighbour", "trending")
"""What speaks for a product never bought: another that the customer bought, by who bought both or, where it is
new in the shop, by its text; customers of a like profile; or nothing but its popularity."""

DISCOVERIES = Table(
    name="gold/discoveries",
    text="Products that a customer never bought and is likeliest to try next month. Empty where no list may carry any.",
    key=("month", "customer_id", "product_id"),
    columns=(
        MONTH,
        _CUSTOMER,
        _PRODUCT,
        Column("need", STRING, "what the product is bought for"),
        Column("place", INT, "place among the customer's discoveries, 1 the likeliest", minimum=1),
        Column("source", STRING, "what speaks for it", allowed=DISCOVERY_SOURCES),
        Column("related_product_id", STRING, "bought product that speaks most for it", nullable=True),
        Column("score", DOUBLE, "what the trees say, which orders a customer's discoveries"),
        Column("probability", DOUBLE, "of a purchase next month; calibrated by last month's", minimum=0, maximum=1),
    ),
    partition_by=("month",),
)

LIST_REQUESTS = Table(
    name="gold/list_requests",
    text="One request to the batch-transform LLM a customer, a candidate being a need with its preferred product; the "
    "body itself stands in the shard.",
    key=("month", "customer_id"),
    columns=(
        MONTH,
        _CUSTOMER,
        Column("custom_id", STRING, "pseudonymous id of the request"),
        Column("shard", STRING, "file name of the shard that holds it"),
        Column("prompt_hash", STRING, "SHA-256 of template version, model and body"),
        Column("candidate_ids", STRINGS, "local ids offered, in order (c01, c02, …)"),
        Column("product_ids", STRINGS, "the products behind them, same order"),
        Column("alternate_ids", pa.list_(STRINGS), "for each of them other products of its need, best first"),
        Column("over_budget", INT, "needs that the customer's monthly budget has no room for", unit="needs", minimum=0),
    ),
    partition_by=("month",),
)

ALTERNATE = pa.struct([pa.field("product_id", pa.string()), pa.field("probability", pa.float64())])

LINE = pa.struct(
    [
        pa.field("rank", pa.int32()),
        pa.field("product_id", pa.string()),
        pa.field("quantity", pa.int32()),
        pa.field("cadence_days", pa.int32()),
        pa.field("next_due_date", pa.date32()),
        pa.field("probability", pa.float64()),
        pa.field("reason_code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("need", pa.string()),
        pa.field("need_probability", pa.float64()),
        pa.field("alternates", pa.list_(ALTERNATE)),
    ]
)

LIST_DECISIONS = Table(
    name="gold/list_decisions",
    text="The list decided for each customer for the next month, by whom, and at what cost.",
    key=("month", "customer_id"),
    columns=(
        MONTH,
        _CUSTOMER,
        Column("decided_by", STRING, "client whose answer stands", allowed=DECIDERS),
        Column("model", STRING, "model asked"),
        Column("prompt_hash", STRING, "hash of what was asked"),
        Column("prompt_tokens", LONG, "tokens read", unit="tokens", minimum=0),
        Column("completion_tokens", LONG, "tokens written", unit="tokens", minimum=0),
        Column("cost_usd", DOUBLE, "price of the answer", unit="USD", minimum=0),
        Column("finish_reason", STRING, "how the answer ended", allowed=FINISH_REASONS),
        Column("fallback_reason", STRING, "why the policy decided instead", nullable=True, allowed=FALLBACK_REASONS),
        Column("repairs", pa.list_(pa.string()), "what was taken off the answer: thinking, code_fence, prose"),
        Column("items", pa.list_(LINE), "the list, best first"),
        Column("policy_items", pa.list_(LINE), "the policy's list; null where no model was asked", nullable=True),
    ),
    partition_by=("month",),
)

SCORECARD = Table(
    name="gold/scorecard",
    text="The lists decided at the end of the month before, judged by what was bought in this month.",
    key=("month", "method", "metric"),
    columns=(
        MONTH,
        Column("method", STRING, "what made the lists; model: as the model decided, whatever was published"),
        Column("metric", STRING, "recall@10 …, monthly_units_error, cost_usd_per_thousand"),
        Column("value", DOUBLE, "mean over the customers judged; null: nobody to judge", nullable=True),
        Column("standard_error", DOUBLE, "of the mean, over customers; null: fewer than two", nullable=True, minimum=0),
        Column("customers", LONG, "customers judged", unit="customers", minimum=0),
    ),
    partition_by=("month",),
)

TABLES = (
    PURCHASE_FREQUENCY,
    REPLENISHMENT_STATE,
    COPURCHASE_COUNTS,
    COPURCHASE,
    RANKER_EXAMPLES,
    RANKERS,
    CANDIDATES,
    DISCOVERIES,
    LIST_REQUESTS,
    LIST_DECISIONS,
    SCORECARD,
)
