"""Prometheus metrics of the API: requests and seconds by route, and what is live. Labels hold no customer id.

With several workers, ``PROMETHEUS_MULTIPROC_DIR`` (set by ``server.serve`` before the workers start) makes each scrape
add up all of them.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from warehouse.errors import ReplenishError
from warehouse.serving.store import ServingReader

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)


class Metrics:
    """The metrics of one application in one process."""

    def __init__(self, store: ServingReader) -> None:
        # A "_created" series beside every counter and bucket would nearly double the scrape and tell nothing more.
        disable_created_metrics()
        self._live = _LiveVersion(store)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "replenish_http_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "replenish_http_request_seconds",
            "Seconds from a request's arrival in the worker to its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Counts one answered request.

        Args:
            route: the route's template, never the path that was asked for.
            status: HTTP status.
            seconds: time it took.
        """
        children = self._children.get((route, status))
        if children is None:
            children = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._children[route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry) + generate_latest(self._live)
        workers = CollectorRegistry()
        MultiProcessCollector(workers)
        return generate_latest(workers) + generate_latest(self._live)


class _LiveVersion:
    """Collects what is live at the moment of the scrape; the same in every worker."""

    def __init__(self, store: ServingReader) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            snapshot = self._store.snapshot()
        except ReplenishError:
            snapshot = None
        published = GaugeMetricFamily("replenish_version_live", "1 where a version is live and open.")
        published.add_metric([], 0 if snapshot is None else 1)
        yield published
        if snapshot is None:
            return
        manifest, now = snapshot.manifest, datetime.now(UTC)
        info = GaugeMetricFamily("replenish_version_info", "The live version.", labels=["version", "month"])
        info.add_metric([manifest.version, manifest.month], 1)
        yield info
        for name, text, value in (
            ("age_seconds", "Seconds since the live version was built.", (now - manifest.generated_at).total_seconds()),
            ("expires_seconds", "Seconds until it expires.", (manifest.expires_at - now).total_seconds()),
            ("customers", "Lists in the live version.", manifest.customers),
            ("lines", "Lines in the live version.", manifest.lines),
        ):
            gauge = GaugeMetricFamily(f"replenish_version_{name}", text)
            gauge.add_metric([], value)
            yield gauge
