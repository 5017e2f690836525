"""gold/purchase_frequency of a month → gold/customer_profiles: the profiles of that month's buyers, moved on.

Profiles(M) = profiles(M-1) with the buyers of M replaced: the cost of a month grows with its purchases, not with
history. Who has withdrawn consent to profiling by the end of M has no profile in it. Run by hand with
``python -m jobs.customer_profiles --month 2017-05 [--to 2017-08]``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.catalogue import as_of_end_of
from transforms.profiles import (
    ProfileParameters,
    Profiles,
    add_purchases,
    months_between,
    no_profiles,
    purchases_by_text,
)
from warehouse.contracts.gold import PURCHASE_FREQUENCY
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.contracts.vectors import CUSTOMER_PROFILES
from warehouse.errors import MissingMonth
from warehouse.lake import Lake
from warehouse.settings import Settings
from warehouse.text_index import read_text_vectors
from warehouse.vectors import (
    VectorStore,
    month_before,
    open_vectors,
    read_keys,
    vector_array,
    vectors_of,
    write_month,
)

if TYPE_CHECKING:
    from lancedb.table import LanceTable

_DIMENSIONS = CUSTOMER_PROFILES.column("vector").type.list_size
# The text vectors are laid out purchase by purchase for the sum: so many rows take 230 MB for a moment.
_ROWS_AT_ONCE = 50_000


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Computes the profiles of the months, in month order.

    Raises:
        MissingMonth: the profiles of the month before, or the vector of a text, have not been computed.
    """
    store = open_vectors(settings)
    rows: dict[str, int] = {}
    stale: list[str] = []
    for month in sorted(months):
        frequency = lake.read(PURCHASE_FREQUENCY, [month])
        products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
        customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz)
        withdrawn = customers.where(~F.col("consent_profiling")).select("customer_id")
        purchases = purchases_by_text(frequency.join(withdrawn, "customer_id", "left_anti"), products).toArrow()
        rows[month], stale = update_profiles(
            store,
            month,
            purchases,
            first_month=settings.first_month,
            model=settings.embedding_model,
            withdrawn=withdrawn.toArrow()["customer_id"].to_pylist(),
        )
    return JobReport(CUSTOMER_PROFILES.name, rows, {"stale_months": stale})


def update_profiles(
    store: VectorStore,
    month: str,
    purchases: pa.Table,
    *,
    first_month: str,
    model: str,
    parameters: ProfileParameters | None = None,
    withdrawn: Sequence[str] = (),
) -> tuple[int, list[str]]:
    """Writes the version of one month; returns its buyers and the later months that this makes stale.

    Args:
        store: where; holds the purchases' texts.
        month: YYYY-MM.
        purchases: ``customer_id``, ``text_hash``, ``purchase_days``; one row a pair.
        first_month: month that needs none before it.
        model: embedding model of the texts.
        parameters: the half-life.
        withdrawn: customers who may not be profiled, none of them in ``purchases``; their profiles go.

    Raises:
        MissingMonth: the month before, or a text's vector, has not been computed, or with another model.
    """
    before = month_before(store, CUSTOMER_PROFILES, month, first_month)
    _require_model(before, model, first_month)
    purchases = purchases.sort_by([("customer_id", "ascending"), ("text_hash", "ascending")])
    customers = pc.unique(purchases["customer_id"])
    texts = pc.unique(purchases["text_hash"])
    text_vectors = read_text_vectors(store, texts.to_pylist()) if len(texts) else np.empty((0, _DIMENSIONS))
    profiles, elapsed = _profiles_before(before, customers, month)
    updated = _add_in_parts(
        profiles,
        elapsed,
        pc.index_in(purchases["customer_id"], customers).to_numpy(),
        pc.index_in(purchases["text_hash"], texts).to_numpy(),
        purchases["purchase_days"].to_numpy().astype(np.float64),
        text_vectors,
        parameters or ProfileParameters(),
    )
    rows = pa.table(
        {
            "customer_id": customers,
            "month": pa.repeat(month, len(customers)),
            "model": pa.repeat(model, len(customers)),
            "weight": updated.weights,
            "norm": updated.norms,
            "vector": vector_array(updated.vectors),
        }
    )
    gone = read_keys(before, "customer_id", withdrawn, ["customer_id"])["customer_id"].to_pylist()
    return len(customers), write_month(store, CUSTOMER_PROFILES, month, first_month, rows, gone)


def _require_model(before: "LanceTable", model: str, first_month: str) -> None:
    from lancedb.expr import col

    others = before.count_rows(col("model").ne(model).to_sql())
    if others:
        raise MissingMonth(
            f"{CUSTOMER_PROFILES.name} of the month before was made by another embedding model than {model!r}: "
            f"vectors of two models cannot be added, so compute the months from {first_month} on again"
        )


def _profiles_before(before: "LanceTable", customers: pa.Array, month: str) -> tuple[Profiles, np.ndarray]:
    """The customers' profiles at the month before, zeros for new ones, and the months since each was written."""
    columns = ["customer_id", "month", "weight", "norm", "vector"]
    rows = read_keys(before, "customer_id", customers.to_pylist(), columns)
    profiles = no_profiles(len(customers), _DIMENSIONS)
    elapsed = np.zeros(len(customers))
    place = pc.index_in(rows["customer_id"], customers).to_numpy()
    if rows.num_rows:
        profiles.vectors[place] = vectors_of(rows)
        profiles.norms[place] = rows["norm"].to_numpy()
        profiles.weights[place] = rows["weight"].to_numpy()
        elapsed[place] = months_between(rows["month"].to_pylist(), month)
    return profiles, elapsed


def _add_in_parts(
    before: Profiles,
    elapsed: np.ndarray,
    customer_index: np.ndarray,
    text_index: np.ndarray,
    purchase_days: np.ndarray,
    text_vectors: np.ndarray,
    parameters: ProfileParameters,
) -> Profiles:
    """:func:`add_purchases` for some customers at a time, so that memory does not grow with the month."""
    count = len(before.norms)
    result = no_profiles(count, _DIMENSIONS)
    starts = np.searchsorted(customer_index, np.arange(count + 1))
    first = 0
    while first < count:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _ROWS_AT_ONCE, side="right")) - 1)
        rows, some = slice(starts[first], starts[last]), slice(first, last)
        part = add_purchases(
            Profiles(before.vectors[some], before.norms[some], before.weights[some]),
            elapsed[some],
            customer_index[rows] - first,
            text_vectors[text_index[rows]],
            purchase_days[rows],
            parameters,
        )
        result.vectors[some], result.norms[some], result.weights[some] = part.vectors, part.norms, part.weights
        first = last
    return result


if __name__ == "__main__":
    run_job(run, __doc__)
