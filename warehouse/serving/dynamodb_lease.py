"""The lease that makes a process the table's only writer. It ends by itself, so a killed process locks nobody out.

The holder renews it from a thread and stops writing in good time before it would end. The switch of the live version
is conditional on it besides, in the same transaction; batch writes take no condition, hence the margin.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from warehouse.errors import ReplenishError, StoreUnavailable
from warehouse.serving.dynamodb_layout import STORE, WRITER
from warehouse.serving.dynamodb_table import Table, key_of

LEASE_SECONDS = 90.0
_STOP_SHARE = 0.5
"""A holder that could not renew stops writing when this share of the lease is left: 45 s, where the longest request
with its retries takes 25 s. The rest is for clocks that differ."""


class Lease:
    """A held lease. Made by :func:`hold`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._until = 0.0
        self._taken = False

    def take(self) -> None:
        """Takes or renews the lease.

        Raises:
            StoreUnavailable: another process has it.
        """
        now = time.time()
        try:
            self._table.call(
                "put_item",
                Item=key_of(STORE, WRITER) | {"owner": {"S": self._owner}, "until": {"N": str(now + LEASE_SECONDS)}},
                ConditionExpression="attribute_not_exists(pk) OR #owner = :me OR #until < :now",
                ExpressionAttributeNames={"#owner": "owner", "#until": "until"},
                ExpressionAttributeValues={":me": {"S": self._owner}, ":now": {"N": str(now)}},
            )
        except ClientError as error:
            self._taken = True
            raise StoreUnavailable(self._busy()) from error
        self._until = now + LEASE_SECONDS

    def check(self) -> None:
        """Raises a StoreUnavailable if the lease may end before a request sent now has ended."""
        if self._taken or time.time() > self._until - LEASE_SECONDS * _STOP_SHARE:
            raise StoreUnavailable(
                f"this process lost the lease on the DynamoDB table {self._table.name}: it was held up, or another "
                "process is publishing. Run it again; what it wrote is kept"
            )

    def condition(self) -> dict[str, Any]:
        """A part of a transaction that fails it where the lease is lost."""
        return {
            "ConditionCheck": {
                "TableName": self._table.name,
                "Key": key_of(STORE, WRITER),
                "ConditionExpression": "#owner = :me",
                "ExpressionAttributeNames": {"#owner": "owner"},
                "ExpressionAttributeValues": {":me": {"S": self._owner}},
            }
        }

    def give_back(self) -> None:
        """Ends the lease. Where that fails it ends by itself."""
        with suppress(ReplenishError, ClientError):
            self._table.call(
                "delete_item",
                Key=key_of(STORE, WRITER),
                ConditionExpression="#owner = :me",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":me": {"S": self._owner}},
            )

    def _busy(self) -> str:
        held = self._table.get(STORE, WRITER)
        text = f"another process is publishing to the DynamoDB table {self._table.name}: try again later"
        if held is None:
            return text
        until = datetime.fromtimestamp(float(held["until"]["N"]), UTC)
        owner = held["owner"]["S"].rpartition("/")[0]
        return f"{text} ({owner}; if that one was killed, its lease ends at {until:%H:%M:%S} UTC)"


@contextmanager
def hold(table: Table) -> Iterator[Lease]:
    """Holds the lease for the block and renews it every quarter of its length.

    Raises:
        StoreUnavailable: another process has it.
    """
    lease, over = Lease(table), threading.Event()
    lease.take()

    def renew() -> None:
        while not over.wait(LEASE_SECONDS / 4):
            # One failure is no loss: there is time for two more attempts, and check() knows when there is not.
            with suppress(ReplenishError):
                lease.take()

    thread = threading.Thread(target=renew, name="dynamodb-lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        over.set()
        thread.join()
        lease.give_back()
