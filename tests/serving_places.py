"""Places for a serving store, one class a kind: what the tests need to know of a store beside its protocol."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from warehouse import dynamodb_local
from warehouse.errors import EnvironmentProblem
from warehouse.serving.dynamodb_build import scan_lists
from warehouse.serving.dynamodb_layout import STORE, VERSION, Slot, choose, list_item, version_of_item
from warehouse.serving.dynamodb_table import Table, create_table
from warehouse.serving.store import ServingReader, ServingStore, open_reader, open_store
from warehouse.settings import Settings

KINDS = ("lmdb", "dynamodb")


class LmdbPlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "serving"
        self.environment = {"REPLENISH_SERVING": f"lmdb:{self.path}"}

    def open(self) -> ServingStore:
        return open_store(f"lmdb:{self.path}")

    def reader(self) -> ServingReader:
        return open_reader(f"lmdb:{self.path}")

    def held(self) -> set[str]:
        """Versions whose lists and manifest are both there; nothing else may be."""
        names = {path.name for path in (self.path / "versions").iterdir()}
        versions = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        assert names == {f"{version}{kind}" for version in versions for kind in (".lmdb", ".json")}
        return versions

    def raw(self) -> dict:
        """Everything stored, to see whether anything was written."""
        files = [path for path in self.path.rglob("*.*") if path.is_file()]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    def damage(self, version: str, old: bytes, new: bytes) -> None:
        """Changes a version's lists behind the store's back."""
        path = self.path / "versions" / f"{version}.lmdb"
        path.write_bytes(path.read_bytes().replace(old, new))

    def is_empty(self) -> bool:
        return not self.path.exists()


class DynamoDbPlace:
    """A table of its own on a server."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.name = f"lists-{uuid.uuid4().hex[:12]}"
        self.environment = {
            "REPLENISH_SERVING": f"dynamodb:{self.name}",
            "REPLENISH_DYNAMODB_ENDPOINT": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        # Clients look the credentials up once: this one gets them here, those of the tests from the environment.
        with pytest.MonkeyPatch.context() as patch:
            self.apply(patch)
            self.table = Table(self.name, endpoint)
            create_table(self.table)

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        for name, value in self.environment.items():
            patch.setenv(name, value)

    def open(self) -> ServingStore:
        return open_store(f"dynamodb:{self.name}", self.endpoint)

    def reader(self) -> ServingReader:
        return open_reader(f"dynamodb:{self.name}", self.endpoint)

    def held(self) -> set[str]:
        """Versions that the table holds, those apart that wait for their end."""
        held = [version_of_item(item) for item in self.table.query(STORE, VERSION)]
        return {version.manifest.version for version in held if version.pruned_at is None}

    def raw(self) -> dict:
        """Every item."""
        items, start = [], None
        while True:
            page, start = self.table.scan(0, 1, start)
            items += page
            if start is None:
                return {(item["pk"]["S"], item["sk"]["S"]): item for item in items}

    def lists(self) -> dict[str, list[Slot]]:
        """Customer → slots."""
        return dict(scan_lists(self.table))

    def damage(self, version: str, old: bytes, new: bytes) -> None:
        """Changes a version's lists behind the store's back."""
        lineage = version_of_item(self.table.get(STORE, VERSION + version)).lineage
        for customer_id, slots in self.lists().items():
            slot = choose(slots, lineage)
            if slot is not None and slot.packed is not None:
                changed = slot.items().replace(old, new)
                self.table.call("put_item", Item=list_item(customer_id, slot.number, slot.since, changed))

    def is_empty(self) -> bool:
        return not self.raw()


Place = LmdbPlace | DynamoDbPlace


@contextmanager
def dynamodb_server(settings: Settings) -> Iterator[str]:
    """The address of a DynamoDB Local of this test process; skips where it cannot be had."""
    try:
        dynamodb_local.bring(settings)
    except EnvironmentProblem as problem:
        pytest.skip(f"no DynamoDB Local: {problem}")
    with dynamodb_local.running(settings) as endpoint:
        yield endpoint
