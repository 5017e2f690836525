"""The DynamoDB table: the connection to it, with bounded waits, and the command that creates it.

``python -m warehouse.serving.dynamodb_table`` creates the table that ``REPLENISH_SERVING`` names and mends what an
earlier run left undone. Nothing else creates it: a publish to a mistyped name must not start a second store.

What belongs here: calls to the table that end within half a minute, finish what DynamoDB left undone, and raise
errors that say the mend (``dynamodb_errors.py`` words them). Not here: what lies in the table (``dynamodb_layout.py``).
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from warehouse.errors import ReplenishError, SettingsError, StoreUnavailable
from warehouse.object_store import region
from warehouse.serving.dynamodb_errors import THROTTLED, code_of, explain, region_problem
from warehouse.settings import Settings, load_settings

PK, SK, EXPIRES = "pk", "sk", "expires"
"""The table's key attributes, both text, and its TTL attribute."""

MAX_WRITES, MAX_GETS = 25, 100
"""DynamoDB's own limits for one BatchWriteItem and one BatchGetItem."""

_PAGE_ITEMS = 500

PATIENCE_S, READ_PATIENCE_S = 25.0, 2.0
"""How long a batch may go on without one item of it being taken, and where a customer waits for it."""

_READS = frozenset({"GetItem", "Query", "BatchGetItem", "DescribeTable", "DescribeTimeToLive"})
# A request that gets no answer ends after its attempts and the pauses between them: 25 s, and 12 s where a customer
# waits for it.
_WRITER = Config(
    connect_timeout=5,
    read_timeout=12,
    max_pool_connections=64,
    retries={"mode": "standard", "total_max_attempts": 2},
)
_READER = Config(
    connect_timeout=1,
    read_timeout=3,
    max_pool_connections=64,
    tcp_keepalive=True,
    retries={"mode": "standard", "total_max_attempts": 3},
)

Item = dict[str, Any]
"""DynamoDB's own form: attribute name → {type: value}."""


class Table:
    """Calls to one table; safe to use from several threads. Opening it asks nothing of the network.

    Args:
        name: the table's name.
        endpoint: address of a DynamoDB-compatible server; None is AWS.
        read_only: refuse every call that changes something, before it is sent, and wait less for an answer.

    Raises:
        SettingsError: no region is configured, or the profile cannot be used.
    """

    def __init__(self, name: str, endpoint: str | None = None, *, read_only: bool = False) -> None:
        self.name = name
        self.endpoint = endpoint
        self.read_only = read_only
        try:
            home = region(endpoint)
            if home is None:
                raise region_problem(name)
            config = _READER if read_only else _WRITER
            self.client = boto3.Session().client("dynamodb", region_name=home, endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"REPLENISH_SERVING is 'dynamodb:{name}': {error}. Mend the AWS profile") from error
        self.place = endpoint or f"AWS {home}"
        if read_only:
            self.client.meta.events.register("before-call.dynamodb", _refuse_writes)

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call of the client's method ``operation`` on this table.

        Raises:
            SettingsError: the table, the credentials or the rights are not there.
            StoreUnavailable: no answer in time, or throttled.
        """
        with self.explained():
            return getattr(self.client, operation)(TableName=self.name, **arguments)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns the client's errors into ours; a failed condition is left to the caller."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            explained = explain(error, self.name, self.place)
            if explained is None:
                raise
            raise explained from error

    def get(self, pk: str, sk: str) -> Item | None:
        """One item as it is now, or None."""
        return self.call("get_item", Key=key_of(pk, sk), ConsistentRead=True).get("Item")

    def query(self, pk: str, prefix: str = "") -> list[Item]:
        """All items of a partition as they are now, in the order of ``sk``."""
        condition, values = f"{PK} = :pk", {":pk": {"S": pk}}
        if prefix:
            condition, values = f"{condition} AND begins_with({SK}, :sk)", values | {":sk": {"S": prefix}}
        arguments: dict[str, Any] = {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}
        items: list[Item] = []
        while True:
            answer = self.call("query", ConsistentRead=True, **arguments)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def get_batch(self, keys: list[Item]) -> list[Item]:
        """Those of up to 100 different items that exist, as they are now, in any order."""
        items: list[Item] = []
        wait = _Patience(self)
        while keys:
            answer = self._batch("batch_get_item", {"Keys": keys, "ConsistentRead": True}, wait)
            items += answer.get("Responses", {}).get(self.name, [])
            left = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            keys = wait.between(keys, left)
        return items

    def write_batch(self, requests: list[Item], may_write: Callable[[], None]) -> None:
        """Up to 25 puts and deletes of different items; returns when DynamoDB has taken each of them.

        Args:
            requests: in DynamoDB's form.
            may_write: called before each attempt; raises where there must be none.

        Raises:
            StoreUnavailable: none of them was taken for :data:`PATIENCE_S`.
        """
        wait = _Patience(self)
        while requests:
            may_write()
            answer = self._batch("batch_write_item", requests, wait)
            requests = wait.between(requests, answer.get("UnprocessedItems", {}).get(self.name, []))

    def scan(self, segment: int, segments: int, start: Item | None) -> tuple[list[Item], Item | None]:
        """A page of one of several segments, as it is now, and where the next one starts."""
        more = {"ExclusiveStartKey": start} if start else {}
        # About AWS's own limit of 1 MB a page. DynamoDB Local reads on to the segment's end where none is given.
        pages = {"Segment": segment, "TotalSegments": segments, "Limit": _PAGE_ITEMS}
        answer = self.call("scan", ConsistentRead=True, **pages, **more)
        return answer["Items"], answer.get("LastEvaluatedKey")

    def _batch(self, operation: str, requests: Any, wait: "_Patience") -> dict[str, Any]:
        """A batch call; where it was throttled or not answered, an answer that says that all is left to do."""
        with self.explained():
            try:
                return getattr(self.client, operation)(RequestItems={self.name: requests})
            except (ClientError, ConnectionError, HTTPClientError) as error:
                throttled = isinstance(error, ClientError) and code_of(error) in THROTTLED
                # A long load outlives a moment in which the server or the network does not answer.
                silent = not isinstance(error, ClientError) and not wait.is_over()
                if not throttled and not silent:
                    raise
                return {"UnprocessedItems": {self.name: requests}, "UnprocessedKeys": {self.name: requests}}


class _Patience:
    """Pauses between the attempts at one batch: longer each time, drawn at random, until nothing goes on."""

    def __init__(self, table: Table) -> None:
        self._table, self._attempt, self._moved_at = table, 0, time.monotonic()
        self._seconds = READ_PATIENCE_S if table.read_only else PATIENCE_S

    def is_over(self) -> bool:
        """Whether nothing has gone on for too long."""
        return time.monotonic() - self._moved_at > self._seconds

    def between(self, before: list[Item], left: list[Item]) -> list[Item]:
        """Waits if anything is left, and returns it."""
        if len(left) < len(before):
            self._attempt, self._moved_at = 0, time.monotonic()
        if left:
            if self.is_over():
                raise StoreUnavailable(
                    f"the DynamoDB table {self._table.name} took none of {len(left)} requests for "
                    f"{self._seconds:.0f} s: it is throttled. Raise its capacity (or its warm throughput) and run the "
                    "same command again"
                )
            # Full jitter: writers that were refused together must not come back together.
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**self._attempt)))
            self._attempt += 1
        return left


def key_of(pk: str, sk: str) -> Item:
    """The key of one item."""
    return {PK: {"S": pk}, SK: {"S": sk}}


def _refuse_writes(model: Any, **_: Any) -> None:
    if model.name not in _READS:
        raise PermissionError(f"{model.name} on a store that was opened for reading")


# Creating ------------------------------------------------------------------------------------------------------


def create_table(table: Table) -> list[str]:
    """Creates the table: on-demand billing, TTL, and on AWS point-in-time recovery and deletion protection.

    Returns what was done, one line each. What is there already is left as it is.

    Raises:
        SettingsError: a table of that name has other keys, or the credentials may not create one.
    """
    done = []
    if describe(table) is None:
        safe = {} if table.endpoint else {"DeletionProtectionEnabled": True}
        table.call(
            "create_table",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=_KEYS,
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (PK, SK)],
            **safe,
        )
        with table.explained():
            waiter = table.client.get_waiter("table_exists")
            waiter.wait(TableName=table.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        done.append("created, billed on demand")
    check_keys(table, describe(table) or {})
    if table.call("describe_time_to_live")["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
        table.call("update_time_to_live", TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES})
        done.append(f"time to live on: {EXPIRES}")
    # DynamoDB Local has no backups.
    if not table.endpoint:
        on = {"PointInTimeRecoveryEnabled": True}
        table.call("update_continuous_backups", PointInTimeRecoverySpecification=on)
        done.append("point-in-time recovery on")
    return done or ["there already: nothing to do"]


_KEYS = [{"AttributeName": PK, "KeyType": "HASH"}, {"AttributeName": SK, "KeyType": "RANGE"}]


def describe(table: Table) -> dict[str, Any] | None:
    """DynamoDB's description of the table; None if there is none."""
    with table.explained():
        try:
            return table.client.describe_table(TableName=table.name)["Table"]
        except table.client.exceptions.ResourceNotFoundException:
            return None


def check_keys(table: Table, description: dict[str, Any]) -> None:
    """Raises a SettingsError where the table's keys are not ours."""
    if sorted(description["KeySchema"], key=str) != sorted(_KEYS, key=str):
        raise SettingsError(
            f"REPLENISH_SERVING is 'dynamodb:{table.name}', a table with other keys than {PK} and {SK}: name another "
            "table, and create it with `python -m warehouse.serving.dynamodb_table`"
        )


def table_of(settings: Settings, *, read_only: bool = False) -> Table:
    """The table that the settings name.

    Raises:
        SettingsError: they name another kind of store.
    """
    kind, _, name = settings.serving_store.partition(":")
    if kind != "dynamodb":
        raise SettingsError(f"REPLENISH_SERVING is {settings.serving_store!r}, not dynamodb:TABLE")
    return Table(name, settings.dynamodb_endpoint, read_only=read_only)


def main(argv: Sequence[str] | None = None) -> None:
    """Creates the table of the settings."""
    argparse.ArgumentParser(description="Creates the DynamoDB table that REPLENISH_SERVING names.").parse_args(argv)
    try:
        table = table_of(load_settings())
        for line in create_table(table):
            print(f"{table.name} at {table.place}: {line}")
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
