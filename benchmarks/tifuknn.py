"""TIFUKNN on the demo's data: the published method that the ranker is judged beside. Not part of the product.

Hu, He, Gao and Zhang, "Modeling Personalized Item Frequency Information for Next-basket Recommendation", SIGIR 2020;
neighbours are found as in ``benchmarks/quality/methods.py``. What differs from it: a group is 30 days of the calendar,
counted back from the cutoff, and not a number of baskets; the oldest also holds all that is older; and a group's vector
is the sum of its baskets, not their mean. So the reference's figures come out nearly (``benchmarks/protocol.py``).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from benchmarks.quality.methods import chunks, nearest_users, neighbour_vectors
from warehouse.contracts.silver import ORDER_LINES
from warehouse.lake import Lake
from warehouse.months import last_date


@dataclass(frozen=True)
class CalendarTifuknn:
    """Parameters: those of the project's reference, tuned there on 2017-09.

    ``groups`` of ``group_days``, the oldest open; ``group_decay`` (r_g): a group's weight against the next;
    ``neighbours`` (k); ``alpha``: the share of the customer's own vector. Within a group all baskets weigh alike (r_b
    of 1).
    """

    groups: int = 7
    group_days: int = 30
    group_decay: float = 0.8
    neighbours: int = 100
    alpha: float = 0.5


def tifuknn_lists(
    lake: Lake, goods: DataFrame, before: str, k: int, params: CalendarTifuknn | None = None
) -> dict[str, DataFrame]:
    """Lists made at the end of ``before``: prefix ("" products, "need_" needs) → ``customer_id, product_id, rank``.

    Args:
        lake: holds ``silver/order_lines`` up to ``before``.
        goods: ``product_id, need`` of what may stand on a list.
        before: month at whose end the lists are made, YYYY-MM.
        k: length of a list.
        params: the method's parameters.
    """
    params = params or CalendarTifuknn()
    age = F.datediff(F.lit(last_date(before)), "ordered_date")
    rows = (
        lake.read(ORDER_LINES)
        .where((F.col("quantity") > 0) & (F.col("month") <= before))
        .join(F.broadcast(goods), on="product_id", how="inner")
        .select("customer_id", "product_id", "need", age.alias("age"))
        .distinct()
        .toArrow()
    )
    return {
        "": _lists(lake, rows, "product_id", k, params),
        "need_": _lists(lake, rows, "need", k, params),
    }


def _lists(lake: Lake, rows: pa.Table, item: str, k: int, params: CalendarTifuknn) -> DataFrame:
    customers, customer = np.unique(rows["customer_id"].to_numpy(), return_inverse=True)
    items, column = np.unique(rows[item].to_numpy(), return_inverse=True)
    vectors = user_vectors(customer, column, rows["age"].to_numpy(), (len(customers), len(items)), params)
    everyone = np.arange(len(customers))
    nearest = nearest_users(vectors, everyone, everyone, params.neighbours)
    ranked = []
    for start, stop in chunks(len(customers)):
        own = params.alpha * vectors[start:stop]
        scores = own + (1 - params.alpha) * neighbour_vectors(vectors, nearest[start:stop])
        ranked.append(np.argsort(-scores.toarray(), axis=1, kind="stable")[:, :k])
    places = np.concatenate(ranked)
    table = {
        "customer_id": np.repeat(customers, k),
        "product_id": items[places.ravel()],
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(customers)),
    }
    return lake.spark.createDataFrame(pa.table(table))


def user_vectors(
    customer: np.ndarray, item: np.ndarray, age_days: np.ndarray, shape: tuple[int, int], params: CalendarTifuknn
) -> sparse.csr_array:
    """Every customer's vector of decayed frequencies: float64 ``shape`` (customers, items), sorted columns.

    A group's vector is the sum of its baskets (0 or 1 an item); the customer's is the mean of the groups', each times
    ``group_decay`` to the number of groups after it.

    Args:
        customer: ``(rows,)``, position of the customer; rows are unique in (customer, item, age).
        item: ``(rows,)``, position of the item.
        age_days: ``(rows,)``, days from the basket to the cutoff, 0 the last.
        shape: customers and items.
        params: the method's parameters.
    """
    group = np.minimum(age_days // params.group_days, params.groups - 1)
    weights = params.group_decay**group / params.groups
    vectors = sparse.csr_array((weights, (customer, item)), shape=shape)
    vectors.sum_duplicates()
    return vectors
