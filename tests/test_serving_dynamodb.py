"""What only the DynamoDB store does: shared lists, slots, the lease, kills at every write, and its errors."""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.serving_places import DynamoDbPlace
from tests.test_serving_store import AUGUST, NOW, SEPTEMBER, line, lists_of, put
from warehouse.doctor import Finding, examine
from warehouse.errors import ReplenishError, SettingsError, StoreUnavailable
from warehouse.serving import dynamodb_lease, dynamodb_reader, dynamodb_store, dynamodb_table
from warehouse.serving.dynamodb_errors import explain
from warehouse.serving.dynamodb_layout import STORE, WRITER, Lineage, Slot, choose, list_item, plan, slot_of
from warehouse.serving.dynamodb_staging import stage
from warehouse.serving.dynamodb_table import Table, create_table, key_of
from warehouse.serving.publish import Gates, publish, rollback
from warehouse.serving.store import open_reader, open_store
from warehouse.settings import load_settings

ANY = Gates(max_vanished=1, max_changed=1, max_lines_replaced=1)


def many(count: int, changed: int = 0) -> list[tuple[str, list[dict]]]:
    """``count`` customers with one line each, the first ``changed`` of them with another product."""
    return [(f"c{number}", [line(1, "b" if number < changed else "a")]) for number in range(count)]


def nth_month(number: int) -> str:
    """The first is 2026-01."""
    return f"{2026 + (number - 1) // 12}-{(number - 1) % 12 + 1:02d}"


# What is written -----------------------------------------------------------------------------------------------


def test_only_changed_lists_are_written(dynamodb: DynamoDbPlace):
    store = dynamodb.open()
    put(store, "2026-08", many(100))
    assert (store.last_written, store.last_removed) == (100, 0)
    before = dynamodb.raw()

    report = put(store, "2026-09", many(100, changed=5), generated_at=NOW + timedelta(days=30))

    assert (store.last_written, store.last_removed) == (5, 0)
    after = dynamodb.raw()
    new = {pk for pk, sk in set(after) - set(before) if pk != STORE}
    assert new == {f"list#c{number}" for number in range(5)}
    assert all(after[key] == item for key, item in before.items() if key[0] != STORE)
    assert (report.diff.customers_changed, report.diff.customers_unchanged) == (5, 95)


def test_an_unchanged_list_carries_the_new_version_and_its_dates(dynamodb: DynamoDbPlace):
    store = dynamodb.open()
    august = put(store, "2026-08", AUGUST).live
    later = {"generated_at": NOW + timedelta(days=30), "expires_at": NOW + timedelta(days=75)}
    september = put(store, "2026-09", AUGUST, **later).live
    body = json.loads(dynamodb.open().get("ann"))
    assert (body["month"], body["version"]) == ("2026-09", september.version)
    assert (body["generated_at"], body["expires_at"]) == ("2026-10-02T03:00:00Z", "2026-11-16T03:00:00Z")
    rollback(store, august.version)
    body = json.loads(dynamodb.open().get("ann"))
    assert (body["version"], body["expires_at"]) == (august.version, "2026-10-17T03:00:00Z")


def test_a_rollback_and_a_prune_write_no_list(dynamodb: DynamoDbPlace):
    store = dynamodb.open()
    first = put(store, "2026-08", many(50)).live
    put(store, "2026-09", many(50, changed=50), gates=ANY)
    lists = {key: item for key, item in dynamodb.raw().items() if key[0] != STORE}
    rollback(store, first.version)
    store.prune(1)
    assert lists == {key: item for key, item in dynamodb.raw().items() if key[0] != STORE}


def test_lists_of_pruned_versions_are_overwritten(dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamodb_store, "GRACE_SECONDS", 0)
    store = dynamodb.open()
    for month in range(1, 8):
        content = lists_of(dict.fromkeys(("ann", "bob"), "abcdefgh"[month]))
        put(store, f"2026-{month:02d}", content, keep=2, gates=ANY)
        assert (store.last_written, store.last_removed) == (2, 0)
    assert {customer: len(slots) for customer, slots in dynamodb.lists().items()} == {"ann": 3, "bob": 3}


def test_nothing_is_left_of_a_customer_whom_no_version_has(dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamodb_store, "GRACE_SECONDS", 0)
    store = dynamodb.open()
    put(store, "2026-01", lists_of({"ann": "a", "bob": "b"}), keep=1)
    for month in range(2, 5):
        put(store, f"2026-{month:02d}", lists_of({"ann": "a"}), keep=1, gates=ANY)
        assert store.get("bob") is None or month == 2
    assert set(dynamodb.lists()) == {"ann"}


def test_a_pruned_version_waits_for_its_end_with_a_time_to_live(dynamodb: DynamoDbPlace):
    store = dynamodb.open()
    first = put(store, "2026-08", AUGUST).live
    put(store, "2026-09", SEPTEMBER, keep=1)
    item = dynamodb.table.get(STORE, f"version#{first.version}")
    assert int(item["expires"]["N"]) > time.time()
    status = dynamodb.table.call("describe_time_to_live")["TimeToLiveDescription"]
    assert (status["TimeToLiveStatus"], status["AttributeName"]) == ("ENABLED", "expires")


def test_a_snapshot_is_not_read_from_when_its_lists_may_be_gone(
    dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch
):
    store = dynamodb.open()
    put(store, "2026-08", AUGUST)
    old = store.snapshot()
    old.seen_live_at -= dynamodb_reader.GRACE_SECONDS
    with pytest.raises(StoreUnavailable, match="opened too long ago"):
        old.get("ann")
    with pytest.raises(StoreUnavailable, match="opened too long ago"):
        old.get_many(["ann"])
    store._look_again_at = 0
    assert store.get("ann") is not None, "a reader that was idle looks before it answers"


def test_any_order_of_builds_kills_rollbacks_and_prunes_leaves_every_version_as_it_was_built():
    for seed in range(150):
        _play(random.Random(seed))


def _play(draw: random.Random) -> None:
    """Plays a store's life with the plan alone: one customer, since customers do not touch one another."""
    slots: dict[int, Slot] = {}
    versions: dict[bytes | None, Lineage] = {}  # content, which names a version → lineage
    live, latest = None, (0, b"none")
    for _ in range(30):
        act = draw.choice(("build", "build", "kill", "rollback", "prune"))
        if act == "rollback" and versions:
            live = draw.choice(list(versions))
        elif act == "prune" and versions:
            versions.pop(draw.choice([name for name in versions if name != live] or [b"-"]), None)
        elif act in ("build", "kill"):
            wanted = draw.choice((None, b"A", b"B", b"C", b"D"))
            if wanted in versions:
                continue
            latest = latest if latest[1] == wanted else (latest[0] + 1, wanted)
            lineage = versions.get(live, frozenset()) | {latest[0]}
            change = plan(list(slots.values()), wanted, lineage, list(versions.values()))
            steps: list[Slot | int] = [*change.remove]
            if change.write is not None:
                item = list_item("ann", change.write, latest[0], wanted)
                steps.append(slot_of(item))
            draw.shuffle(steps)
            for step in steps[: draw.randrange(len(steps) + 1) if act == "kill" else None]:
                if isinstance(step, Slot):
                    slots[step.number] = step
                else:
                    del slots[step]
                _check(slots, versions)
            if act == "build":
                # A review keeps the builds that some customer's list is of: this one's, and others'.
                chosen = choose(slots.values(), lineage)
                others = {build for build in lineage if draw.random() < 0.5}
                versions[wanted] = frozenset(others | {latest[0]} | ({chosen.since} if chosen else set()))
                live = wanted
                assert len(slots) <= len(versions) + 1
        _check(slots, versions)


def _check(slots: dict[int, Slot], versions: dict[bytes | None, Lineage]) -> None:
    for content, lineage in versions.items():
        chosen = choose(slots.values(), lineage)
        assert (chosen.items() if chosen else None) == content


# Kills ---------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys

sys.path.insert(0, os.getcwd())
from tests.test_serving_dynamodb import ANY, many, nth_month
from tests.test_serving_store import DATES
from warehouse.serving.publish import publish
from warehouse.serving.store import open_store

WRITES = ("PutItem", "BatchWriteItem", "TransactWriteItems", "DeleteItem")


def run(event, nth, month, count, changed):
    def count_down(event_name, **_):
        nonlocal nth
        nth -= event_name.rsplit(".", 1)[1] in WRITES
        if nth == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(os.environ["REPLENISH_SERVING"], os.environ["REPLENISH_DYNAMODB_ENDPOINT"])
    store._table.client.meta.events.register(event, count_down)
    publish(store, nth_month(month), many(count, changed), gates=ANY, keep=2, **DATES)


for order in sys.stdin:  # a fork for each, which spares the imports
    event, *numbers = order.split()
    child = os.fork()
    if child == 0:
        run(event, *map(int, numbers))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def killed_publish(dynamodb: DynamoDbPlace) -> Iterator[Callable[..., bool]]:
    """Publishes in a process that is killed at its nth write, before that is sent or after its answer came.

    The function returns False where the process came to its end before.
    """
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(event: str, nth: int, month: int, count: int, changed: int) -> bool:
            process.stdin.write(f"{event} {nth} {month} {count} {changed}\n")
            process.stdin.flush()
            status = int(process.stdout.readline())
            assert status in (0, -9)
            return status == -9

        yield run
        process.stdin.close()


def end_lease(place: DynamoDbPlace) -> None:
    """What a wait of 90 seconds would do: what the killed process had sent arrives, and its lease ends."""
    before = None
    while (now := place.raw()) != before:
        before = now
        time.sleep(0.3)
    place.table.call("delete_item", Key=key_of(STORE, WRITER))


def lists_in(store: dynamodb_store.DynamoDbStore, version: str, names: list[str]) -> list[bytes | None]:
    """Lists of a version that need not be live."""
    return dynamodb_reader.DynamoDbSnapshot(store._table, store._version(version), store._pool).get_many(names)


def test_a_kill_at_any_write_leaves_whole_versions_and_the_next_publish_mends_it(
    dynamodb: DynamoDbPlace, killed_publish: Callable[..., bool]
):
    names = [f"c{number}" for number in range(60)]  # three batches
    store = dynamodb.open()
    put(store, "2026-01", many(60))
    switched = []
    for nth in range(1, 30):
        kills = 0
        for event in ("before-send.dynamodb", "response-received.dynamodb"):
            live = store.live()
            month = len(switched) + 2
            before = {manifest.version: lists_in(store, manifest.version, names) for manifest in store.versions()}
            killed = killed_publish(event, nth, month, 60, month)
            kills += killed

            now = store.live()
            switched.append(now.version != live.version)
            store.verify(now.version)
            assert {json.loads(body)["version"] for body in dynamodb.open().get_many(names)} == {now.version}
            for manifest in store.versions():
                assert lists_in(store, manifest.version, names) == before.get(
                    manifest.version, lists_in(store, now.version, names)
                )
            if dynamodb.table.get(STORE, WRITER) is not None:
                assert killed
                with pytest.raises(StoreUnavailable, match="another process is publishing"):
                    put(store, nth_month(month), many(60, month), gates=ANY)
                end_lease(dynamodb)
            put(store, nth_month(month), many(60, month), gates=ANY, keep=2)
            assert store.live().month == nth_month(month)
            for manifest in store.versions():
                store.verify(manifest.version)
        if not kills:
            break
    assert nth > 5
    assert (switched[0], switched[-1]) == (False, True)


def test_a_killed_build_is_resumed_and_writes_nothing_twice(
    dynamodb: DynamoDbPlace, killed_publish: Callable[..., bool]
):
    store = dynamodb.open()
    august = put(store, "2026-01", many(400)).live
    assert killed_publish("before-send.dynamodb", 10, 2, 400, 400)
    assert store.live() == august
    assert json.loads(dynamodb.open().get("c1"))["items"][0]["product_id"] == "a"
    end_lease(dynamodb)
    there = sum(len(slots) - 1 for slots in dynamodb.lists().values())
    assert 0 < there < 400

    put(store, "2026-02", many(400, 400), gates=ANY)
    assert store.last_written == 400 - there
    assert store.verify(store.live().version).customers == 400


def test_lists_of_a_killed_build_are_swept_where_the_next_one_has_others(
    dynamodb: DynamoDbPlace, killed_publish: Callable[..., bool]
):
    store = dynamodb.open()
    put(store, "2026-01", many(400))
    assert killed_publish("before-send.dynamodb", 10, 2, 400, 400)
    end_lease(dynamodb)
    put(store, "2026-02", many(400, 3), gates=ANY)
    assert store.last_written == 3
    assert sum(map(len, dynamodb.lists().values())) == 403


def test_what_a_killed_build_staged_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = "import os, signal; from warehouse.serving.dynamodb_staging import stage\n"
    script += "with stage([('ann', b'[]')]): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    (left,) = tmp_path.iterdir()
    with stage([("bob", b"[]")]) as staged:
        assert not left.exists()
        with stage([("cy", b"[]")]):
            assert staged.take("bob") == b"[]", "one in use is left alone"
        assert staged.take("bob") == b"[]"
    assert list(tmp_path.iterdir()) == []


# Writers and readers at once -----------------------------------------------------------------------------------


def test_a_writer_who_lost_the_lease_switches_nothing(dynamodb: DynamoDbPlace):
    store = dynamodb.open()
    august = put(store, "2026-08", AUGUST).live

    def take_over(_built: object) -> None:
        other = {"owner": {"S": "other/1/x"}, "until": {"N": str(time.time() + 60)}}
        dynamodb.table.call("put_item", Item=key_of(STORE, WRITER) | other)

    with pytest.raises(StoreUnavailable, match="nothing was switched"):
        put(store, "2026-09", SEPTEMBER, before_switch=take_over)
    assert store.live() == august
    with pytest.raises(StoreUnavailable, match=r"another process is publishing .* \(other/1; if that one was killed"):
        put(store, "2026-09", SEPTEMBER)


def test_a_lease_that_has_ended_is_taken(dynamodb: DynamoDbPlace):
    ended = {"owner": {"S": "gone/1/x"}, "until": {"N": str(time.time() - 1)}}
    dynamodb.table.call("put_item", Item=key_of(STORE, WRITER) | ended)
    assert put(dynamodb.open(), "2026-08", AUGUST).outcome == "published"
    assert dynamodb.table.get(STORE, WRITER) is None


def test_a_lease_is_renewed_while_it_is_held(dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamodb_lease, "LEASE_SECONDS", 0.8)
    with dynamodb_lease.hold(dynamodb.table):
        first = float(dynamodb.table.get(STORE, WRITER)["until"]["N"])
        time.sleep(1.2)
        assert float(dynamodb.table.get(STORE, WRITER)["until"]["N"]) > first


def test_a_writer_that_was_held_up_stops(dynamodb: DynamoDbPlace):
    with dynamodb_lease.hold(dynamodb.table) as lease:
        lease.check()
        lease._until = time.time() + 10
        with pytest.raises(StoreUnavailable, match="lost the lease"):
            lease.check()


def test_readers_see_one_version_while_slots_are_overwritten(dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamodb_store, "GRACE_SECONDS", 0)
    store = dynamodb.open()
    names = [f"c{number}" for number in range(120)]
    product_of: dict[str, str] = {}

    def publish_month(month: int) -> None:
        product = "abcdefghijkl"[month - 1]
        put(
            store,
            f"2026-{month:02d}",
            [(name, [line(1, product)]) for name in names],
            gates=ANY,
            before_switch=lambda built: product_of.update({built.version: product}),
        )

    publish_month(1)
    stop = threading.Event()

    def read() -> int:
        reader, answers = dynamodb.reader(), 0
        while not stop.is_set():
            reader._look_again_at = 0
            try:
                bodies = [json.loads(body) for body in reader.get_many(names)]
            except StoreUnavailable:
                continue  # not answered in time on a busy machine
            found = {(body["version"], body["items"][0]["product_id"]) for body in bodies}
            assert len(found) == 1
            assert found <= set(product_of.items())
            answers += 1
        return answers

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for month in range(2, 9):
                publish_month(month)
        finally:
            stop.set()
    assert all(reader.result() > 0 for reader in readers)
    assert max(len(slots) for slots in dynamodb.lists().values()) == 4, "slots were overwritten meanwhile"


# Errors --------------------------------------------------------------------------------------------------------


class Busy:
    """A client whose batches are taken in part, refused now and then, or not at all."""

    def __init__(self, client: object, takes: Callable[[], float]) -> None:
        self._client, self._takes = client, takes

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def _part(self, operation: str, left: str, requests: dict) -> dict:
        ((table, asked),) = requests.items()
        share = self._takes()
        if share < 0:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)
        whole = asked["Keys"] if isinstance(asked, dict) else asked
        take = int(len(whole) * share) if share < 1 else len(whole)
        some, rest = whole[:take], whole[take:]

        def wrap(part: list) -> dict:
            return {table: asked | {"Keys": part} if isinstance(asked, dict) else part}

        answer = getattr(self._client, operation)(RequestItems=wrap(some)) if some else {}
        return answer | ({left: wrap(rest)} if rest else {})

    def batch_write_item(self, RequestItems: dict) -> dict:
        return self._part("batch_write_item", "UnprocessedItems", RequestItems)

    def batch_get_item(self, RequestItems: dict) -> dict:
        return self._part("batch_get_item", "UnprocessedKeys", RequestItems)


def test_what_dynamodb_left_undone_is_sent_again(dynamodb: DynamoDbPlace):
    store, draw = dynamodb.open(), random.Random(3)
    store._table.client = Busy(store._table.client, lambda: draw.choice((-1, 0, 0.3, 0.5, 1)))
    put(store, "2026-08", many(200))
    assert store.verify(store.live().version).customers == 200
    assert None not in store.get_many([f"c{number}" for number in range(200)])


def test_a_load_outlives_a_moment_without_an_answer(dynamodb: DynamoDbPlace):
    store, calls = dynamodb.open(), iter(range(10**6))

    def every_third_is_lost() -> float:
        if next(calls) % 3 == 0:
            raise ReadTimeoutError(endpoint_url=dynamodb.endpoint)
        return 1

    store._table.client = Busy(store._table.client, every_third_is_lost)
    put(store, "2026-08", many(200))
    assert store.verify(store.live().version).customers == 200


def test_a_table_that_takes_nothing_is_said(dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamodb_table, "PATIENCE_S", 0.3)
    store = dynamodb.open()
    store._table.client = Busy(store._table.client, lambda: -1)
    with pytest.raises(StoreUnavailable, match=r"took none of .* throttled.*Raise its capacity"):
        put(store, "2026-08", AUGUST)
    assert store.live() is None


def test_a_table_that_is_not_there_is_said(dynamodb: DynamoDbPlace):
    for open_any in (open_store, open_reader):
        store = open_any("dynamodb:no-such-table", dynamodb.endpoint)
        with pytest.raises(SettingsError, match=r"no-such-table .* does not exist: create it with `python -m"):
            store.snapshot()
    with pytest.raises(SettingsError, match="create it with"):
        put(open_store("dynamodb:no-such-table", dynamodb.endpoint), "2026-08", AUGUST)


def test_a_server_that_is_not_there_is_said(dynamodb: DynamoDbPlace):
    store = open_reader("dynamodb:lists", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9 does not answer .*REPLENISH_DYNAMODB_ENDPOINT"):
        store.get("ann")


def test_a_key_that_the_server_refuses_is_said(dynamodb: DynamoDbPlace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "no key!")  # the one thing that DynamoDB Local looks at
    with pytest.raises(SettingsError, match=r"refuses the AWS credentials .*: mend the access key"):
        dynamodb.reader().get("ann")


def test_no_region_and_no_credentials_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsError, match="no AWS region is set: set AWS_REGION"):
        open_store("dynamodb:lists")
    with pytest.raises(SettingsError, match=r"needs AWS credentials .*aws sso login"):
        open_store("dynamodb:lists", "http://127.0.0.1:9").live()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SettingsError, match=r"nobody.*Mend the AWS profile"):
        open_store("dynamodb:lists")


@pytest.mark.parametrize(
    ("code", "kind", "mend"),
    [
        ("UnrecognizedClientException", SettingsError, "mend the access key"),
        ("InvalidSignatureException", SettingsError, "mend the access key"),
        ("ExpiredTokenException", SettingsError, "sign in again"),
        ("AccessDeniedException", SettingsError, "docs/operations.md lists the rights"),
        ("ValidationException", SettingsError, "is it a table made by"),
        ("ProvisionedThroughputExceededException", StoreUnavailable, "raise its capacity"),
        ("InternalServerError", StoreUnavailable, "failed"),
    ],
)
def test_each_error_is_one_line_with_its_mend(code: str, kind: type[ReplenishError], mend: str):
    answer = {"Error": {"Code": code, "Message": "the text\nof AWS"}}
    error = explain(ClientError(answer, "Query"), "lists", "AWS eu-central-1")
    assert type(error) is kind
    assert str(error).startswith("the DynamoDB table lists at AWS eu-central-1 ")
    assert mend in str(error)
    assert "\n" not in str(error)


# Reading only, and the table -----------------------------------------------------------------------------------


def test_what_the_api_opens_cannot_write(dynamodb: DynamoDbPlace):
    put(dynamodb.open(), "2026-08", AUGUST)
    reader, before = dynamodb.reader(), dynamodb.raw()
    assert reader.get("ann") is not None
    assert not {"writing", "build", "activate", "discard", "prune"} & set(dir(reader))
    for operation in ("put_item", "delete_item", "update_item"):
        with pytest.raises(PermissionError, match="opened for reading"):
            getattr(reader._table.client, operation)(
                TableName=dynamodb.name, **{"Item" if operation == "put_item" else "Key": key_of(STORE, "live")}
            )
    assert dynamodb.raw() == before


def test_creating_the_table_again_changes_nothing(dynamodb: DynamoDbPlace):
    assert create_table(dynamodb.table) == ["there already: nothing to do"]
    other = Table(f"{dynamodb.name}-other", dynamodb.endpoint)
    other.call(
        "create_table",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    with pytest.raises(SettingsError, match="with other keys than pk and sk"):
        create_table(other)


def test_the_doctor_looks_at_the_table(dynamodb: DynamoDbPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def found() -> Finding:
        (finding,) = (one for one in examine(load_settings(home=tmp_path)) if one.check == "serving table")
        return finding

    assert (found().status, found().seen) == ("ok", f"{dynamodb.name} at {dynamodb.endpoint}, active")
    monkeypatch.setenv("REPLENISH_SERVING", "dynamodb:no-such-table")
    assert found().status == "fail"
    assert "python -m warehouse.serving.dynamodb_table" in found().mend
    monkeypatch.setenv("REPLENISH_DYNAMODB_ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in found().seen


def test_a_publish_creates_no_table(dynamodb: DynamoDbPlace):
    name = f"{dynamodb.name}-mistyped"
    store = open_store(f"dynamodb:{name}", dynamodb.endpoint)
    now = datetime.now(UTC)
    with pytest.raises(SettingsError, match="does not exist"):
        publish(store, "2026-08", AUGUST, generated_at=now, expires_at=now)
    assert name not in dynamodb.table.client.list_tables()["TableNames"]
