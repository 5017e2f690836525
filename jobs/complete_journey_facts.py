"""The figures about Complete Journey that ``docs/data.md`` states, computed from the package.

``python -m jobs.land_complete_journey --describe`` prints them. Not here: anything that lands data.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.land_complete_journey import FIRST_MONTH, LAST_MONTH, CompleteJourney, rows_of_month
from transforms.complete_journey import exclusion
from warehouse.months import month_range


def describe(business_tz: str) -> dict[str, str]:
    """Figure → value as text, in the order of ``docs/data.md``; months are those of the business time zone."""
    source = CompleteJourney()
    catalogue, products = source.table("products"), source.products()
    return {
        **_orders(source, business_tz),
        **_coupon_check(source),
        **_products(source, catalogue, products),
        **_customers(source),
        **_interactions(source, business_tz),
    }


def _orders(source: CompleteJourney, business_tz: str) -> dict[str, str]:
    lines, orders = source.all_transactions, source.orders
    is_bought = pc.greater(lines["quantity"], 0)
    short = pc.subtract(lines["coupon_disc"], lines["sales_value"])
    exceeds = pc.and_(is_bought, pc.greater(short, 0.004))
    utc = pc.strftime(orders["ordered_at"], "%Y-%m").to_numpy(zero_copy_only=False)
    facts = {
        "orders: lines": f"{lines.num_rows:,}",
        "orders: baskets": f"{pc.count_distinct(lines['basket_id']).as_py():,}",
        "orders: shops": f"{pc.count_distinct(lines['store_id']).as_py():,}",
        "orders: lines of quantity 0": f"{pc.sum(pc.invert(is_bought)).as_py():,}",
        "orders: negative quantities": f"{pc.sum(pc.less(lines['quantity'], 0)).as_py():,}",
        "orders: bought lines whose coupon exceeds them": f"{pc.sum(exceeds).as_py():,}",
        "orders: excess of those coupons, USD": f"{pc.sum(short.filter(exceeds)).as_py():,.2f}",
        "orders: paid for bought lines, USD": f"{pc.sum(orders['line_amount_usd'].filter(is_bought)).as_py():,.2f}",
    }
    moved = 0
    for month in month_range("2017-01", LAST_MONTH):
        rows = rows_of_month(orders, "ordered_at", month, business_tz).num_rows
        inside = rows_of_month(orders.append_column("utc", [utc]), "ordered_at", month, business_tz)["utc"]
        moved += pc.sum(pc.not_equal(inside, month)).as_py() or 0
        if rows:
            facts[f"orders: lines of {month} ({business_tz})"] = f"{rows:,}"
    return facts | {"orders: lines in another month than in UTC": f"{moved:,}"}


def _coupon_check(source: CompleteJourney) -> dict[str, str]:
    """Compares lines sold with a coupon to lines of the same product, shop and week sold without any discount."""
    frame = source.all_transactions.to_pandas()
    frame = frame[(frame.quantity == 1) & (frame.retail_disc == 0)]
    key = ["product_id", "store_id", "week"]
    plain = frame[frame.coupon_disc == 0].groupby(key).sales_value.median().rename("shelf")
    with_coupon = frame[frame.coupon_disc > 0].merge(plain.reset_index(), on=key)
    value, shelf, match = with_coupon.sales_value, with_coupon.shelf, with_coupon.coupon_match_disc

    def same(amount: object) -> str:
        return f"{int(np.isclose(amount, shelf, atol=0.005).sum()):,} of {len(shelf):,}"

    return {
        "coupon check: sales_value + coupon_match_disc is the undiscounted price": same(value + match),
        "coupon check: sales_value + coupon_disc + coupon_match_disc is": same(value + with_coupon.coupon_disc + match),
    }


def _products(source: CompleteJourney, catalogue: pa.Table, products: pa.Table) -> dict[str, str]:
    lines = source.all_transactions["product_id"].to_pandas().value_counts()
    rows = catalogue.to_pylist()
    known = {row["product_id"] for row in rows}
    unknown = lines[[key for key in lines.index if key not in known]]
    count: Counter[str] = Counter()
    sold: Counter[str] = Counter()
    for row in rows:
        label = exclusion(row["department"], row["product_category"], row["product_type"]) or "subscribable"
        count[label] += 1
        sold[label] += int(lines.get(row["product_id"], 0))
    facts = {
        "products: in the catalogue": f"{len(rows):,}",
        "products: sold but not in the catalogue": f"{len(unknown):,} ({int(unknown.sum()):,} lines)",
        "products: distinct names": f"{pc.count_distinct(products['name']).as_py():,}",
        "products: without a price": f"{products['price_usd'].null_count:,}",
    }
    for label, number in sorted(count.items(), key=lambda item: -sold[item[0]]):
        name = label if label == "subscribable" else f"not subscribable, {label}"
        facts[f"products: {name}"] = f"{number:,} ({sold[label]:,} lines)"
    return facts


def _customers(source: CompleteJourney) -> dict[str, str]:
    buyers = pc.count_distinct(source.all_transactions["household_id"]).as_py()
    return {
        "customers: households": f"{len(source.households):,} ({buyers:,} with purchases)",
        "customers: with demographics": f"{source.table('demographics').num_rows:,}",
    }


def _interactions(source: CompleteJourney, business_tz: str) -> dict[str, str]:
    events = source.interactions(business_tz)
    kinds = Counter(events["kind"].to_pylist())
    before = sum(
        rows_of_month(events, "occurred_at", month, business_tz).num_rows
        for month in month_range(FIRST_MONTH, "2016-12")
    )
    return {
        **{f"interactions: {kind}": f"{number:,}" for kind, number in sorted(kinds.items())},
        "interactions: before 2017-01 (campaigns that began in 2016)": f"{before:,}",
    }
