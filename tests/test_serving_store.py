"""The serving store and publishing into it: content, versions, gates, crashes, readers during a switch."""

import json
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.serving_places import KINDS, LmdbPlace, Place
from warehouse.errors import ContractError, QualityGateError, SettingsError, StoreUnavailable, UnknownVersion
from warehouse.serving.lists import CustomerList, encode_items
from warehouse.serving.lmdb_store import LmdbStore
from warehouse.serving.publish import Gates, PublishReport, publish, rollback, version_of
from warehouse.serving.store import ServingStore, open_store

NOW = datetime(2026, 9, 2, 3, tzinfo=UTC)
DATES = {"generated_at": NOW, "expires_at": NOW + timedelta(days=45)}


def line(rank: int, product_id: str, **changes: object) -> dict:
    return {
        "rank": rank,
        "product_id": product_id,
        "name": f'Milk "{product_id}", 1 gal, crème',
        "quantity": 2,
        "cadence_days": 14,
        "next_due_date": date(2026, 9, 9),
        "probability": 0.876543,
        "reason_code": "due",
        "reason": "Bought on 12 days, every 14 days on average.",
        "price_usd": Decimal("2.69"),
        "need": "MILK",
        "need_probability": 0.95,
        "alternates": [],
    } | changes


def lists_of(customers: dict[str, str]) -> list[tuple[str, list[dict]]]:
    """Customer → product ids, one character each."""
    return [(name, [line(rank, product) for rank, product in enumerate(ids, 1)]) for name, ids in customers.items()]


AUGUST = lists_of({"ann": "abc", "bob": "bcd", "cy": "xyz", "dee": "pq"})
SEPTEMBER = lists_of({"ann": "abc", "bob": "bce", "dee": "qp", "eve": "a"})


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest,
    place_of: Callable[[str, Path], Place],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """An empty place for a store; each test that takes it runs on every kind."""
    made = place_of(request.param, tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def store(place: Place) -> ServingStore:
    return place.open()


@pytest.fixture
def lmdb_store(tmp_path: Path) -> LmdbStore:
    return LmdbStore(tmp_path / "serving")


def put(store: ServingStore, month: str, lists: list, **options: object) -> PublishReport:
    return publish(store, month, lists, **(DATES | options))


def test_a_published_list_reads_back_as_the_api_promises(store: ServingStore):
    report = put(store, "2026-08", AUGUST)

    assert (report.outcome, report.live.customers, report.live.lines) == ("published", 4, 11)
    body = json.loads(store.get("ann"))
    assert list(body) == ["customer_id", "month", "version", "generated_at", "expires_at", "items"]
    assert body["customer_id"] == "ann"
    assert body["version"] == report.live.version
    assert (body["generated_at"], body["expires_at"]) == ("2026-09-02T03:00:00Z", "2026-10-17T03:00:00Z")
    assert body["items"][0] == {
        "rank": 1,
        "product_id": "a",
        "name": 'Milk "a", 1 gal, crème',
        "quantity": 2,
        "cadence_days": 14,
        "next_due_date": "2026-09-09",
        "probability": 0.8765,
        "reason_code": "due",
        "reason": "Bought on 12 days, every 14 days on average.",
        "price_usd": 2.69,
        "need": "MILK",
        "need_probability": 0.95,
        "alternates": [],
    }
    assert CustomerList.model_validate(body).model_dump_json().encode() == store.get("ann")
    assert store.get("nobody") is None
    assert [body is None for body in store.get_many(["dee", "nobody", "", "x" * 600, "\ud800", "cy"])] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("customer_id", ['quo"te', "back\\slash", "slash/ed", "new\nline", "ünïcode 漢字", "é" * 255])
def test_any_id_that_fits_is_a_key(store: ServingStore, customer_id: str):
    put(store, "2026-08", [(customer_id, [line(1, "a")])])
    assert json.loads(store.get(customer_id))["customer_id"] == customer_id


def test_a_version_is_its_content_whatever_the_order_and_the_time(store: ServingStore):
    first = put(store, "2026-08", AUGUST).live
    assert first.version == version_of("2026-08", reversed(AUGUST))
    assert first.version.startswith("2026-08-")
    assert first.version != version_of("2026-09", AUGUST)
    assert first.version != version_of("2026-08", SEPTEMBER)


def test_publishing_what_is_live_changes_nothing(place: Place, store: ServingStore):
    first = put(store, "2026-08", AUGUST).live
    before = place.raw()

    again = put(store, "2026-08", AUGUST[::-1], generated_at=NOW + timedelta(days=1))

    assert again.outcome == "unchanged"
    assert again.live == first
    assert place.raw() == before
    assert place.held() == {first.version}


def test_an_earlier_month_does_not_replace_a_later_one(place: Place, store: ServingStore):
    september = put(store, "2026-09", SEPTEMBER).live
    report = put(store, "2026-08", AUGUST)
    assert (report.outcome, store.live()) == ("superseded", september)
    assert place.held() == {september.version}


def test_diff_counts_customers_and_lines(store: ServingStore):
    august = put(store, "2026-08", AUGUST).live.version
    report = put(store, "2026-09", SEPTEMBER)
    diff = store.diff(august, report.live.version)

    assert report.diff == diff
    assert (diff.customers_added, diff.customers_removed) == (1, 1)  # eve came, cy went
    assert (diff.customers_changed, diff.customers_unchanged) == (2, 1)  # bob's products, dee's order; ann as she was
    assert (diff.lines_added, diff.lines_removed, diff.lines_kept) == (2, 4, 7)
    assert diff.lines_moved == 2  # dee's
    assert (diff.vanished_share, diff.lines_replaced_share) == (0.25, 4 / 11)
    back = store.diff(report.live.version, august)
    assert (back.lines_added, back.lines_removed, back.customers_added) == (4, 2, 1)


def test_a_failed_gate_names_its_figures_and_leaves_the_old_version_live(place: Place, store: ServingStore):
    august = put(store, "2026-08", AUGUST).live
    calls: list = []

    with pytest.raises(QualityGateError, match=r"75\.0% of customers vanish \(3\), at most 50\.0% allowed"):
        put(store, "2026-09", AUGUST[:1], before_switch=calls.append)
    with pytest.raises(QualityGateError, match=r"100\.0% of lines are replaced \(11\), at most 95\.0%"):
        put(store, "2026-09", lists_of(dict.fromkeys(("ann", "bob", "cy", "dee"), "uvw")))
    with pytest.raises(QualityGateError, match=r"66\.7% of lists change"):
        put(store, "2026-09", SEPTEMBER, gates=Gates(max_changed=0.5))
    with pytest.raises(QualityGateError, match="0 lists, at least 1 expected"):
        put(store, "2026-09", [])

    assert store.live() == august
    assert calls == []
    assert place.held() == {august.version}
    assert json.loads(store.get("cy"))["version"] == august.version


def test_the_record_is_made_before_the_switch_and_its_failure_stops_it(store: ServingStore):
    august = put(store, "2026-08", AUGUST).live
    live_then: list[str] = []
    put(store, "2026-09", SEPTEMBER, before_switch=lambda built: live_then.append(store.live().version))
    assert live_then == [august.version]

    def fail(_built: object) -> None:
        raise OSError("the lake is full")

    september = store.live()
    with pytest.raises(OSError, match="the lake is full"):
        put(store, "2026-10", AUGUST, before_switch=fail)
    assert store.live() == september
    assert len(store.versions()) == 2


def test_rollback_and_prune(place: Place, store: ServingStore):
    versions = [put(store, f"2026-{month:02d}", AUGUST, keep=3).live.version for month in range(1, 6)]
    assert [held.version for held in store.versions()] == versions[:1:-1]
    with pytest.raises(UnknownVersion, match=f"It holds: {versions[4]}, {versions[3]}, {versions[2]}"):
        rollback(store, versions[0])
    with pytest.raises(UnknownVersion, match="is not a version"):
        rollback(store, "../../etc/passwd")

    rollback(store, versions[2])
    assert store.live().version == versions[2]
    assert json.loads(place.open().get("ann"))["version"] == versions[2]
    assert store.prune(1) == [versions[3]], "the live version is never pruned"
    with pytest.raises(ContractError, match="is live"):
        store.discard(versions[2])


def test_a_pruned_version_stays_readable_for_who_has_it_open(place: Place, store: ServingStore):
    put(store, "2026-08", AUGUST)
    reader = store.snapshot()
    put(store, "2026-09", SEPTEMBER, keep=1)
    assert reader.manifest.version not in place.held()
    assert json.loads(reader.get("cy"))["version"] == reader.manifest.version


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_a_replaced_version_is_closed_with_its_last_reader(lmdb_store: LmdbStore):
    store = lmdb_store

    def mapped() -> int:
        return sum(str(store._path) in entry for entry in Path("/proc/self/maps").read_text().splitlines())

    put(store, "2026-08", AUGUST)
    reader = store.snapshot()
    put(store, "2026-09", SEPTEMBER)
    store._look_again_at = 0
    assert store.snapshot().manifest.month == "2026-09"
    assert mapped() == 2
    del reader
    assert mapped() == 1


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([("Joan", [line(1, "a")]), ("bob", []), ("Joan", [line(1, "b")])], "a customer comes twice"),
        ([("x" * 512, [line(1, "a")])], "a customer id of 512 characters cannot be published"),
        ([("", [line(1, "a")])], "a customer id of 0 characters"),
        ([("Joan", [line(2, "a")])], "ranks are not 1, 2, 3"),
        ([("Joan", [line(1, "a"), line(2, "a")])], "a product stands on it twice"),
        ([("Joan", [line(1, "a", quantity=0)])], r"items\.0\.quantity: Input should be greater than or equal to 1"),
        ([("Joan", [line(1, "a", probability=float("nan"))])], r"items\.0\.probability"),
        ([("Joan", [{"rank": 1}])], r"items\.0\.product_id: Field required"),
    ],
)
def test_what_breaks_the_contract_is_not_published(place: Place, store: ServingStore, lists: list, message: str):
    august = put(store, "2026-08", AUGUST).live
    with pytest.raises(ContractError, match=message) as caught:
        put(store, "2026-09", lists)
    assert "Joan" not in str(caught.value)
    assert store.live() == august
    assert place.held() == {august.version}


def test_dates_take_a_time_zone(store: ServingStore):
    with pytest.raises(ContractError, match="take a time zone"):
        put(store, "2026-08", AUGUST, generated_at=datetime(2026, 9, 1))


def test_rows_with_attributes_are_items_too():
    class Row:
        def __init__(self, fields: dict) -> None:
            self.__dict__ = fields

    assert encode_items([Row(line(1, "a"))]) == encode_items([line(1, "a")])


def test_lists_stream_through_and_the_file_grows(lmdb_store: LmdbStore):
    store = lmdb_store
    reason = "because " * 1_500

    def many() -> Iterator[tuple[str, list[dict]]]:
        for number in range(6_000):
            yield f"customer {number * 7919 % 6_000}", [line(1, "a", reason=reason)]

    tracemalloc.start()
    report = put(store, "2026-08", many())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    written = (store._path / "versions" / f"{report.live.version}.lmdb").stat().st_size
    assert written > 64 << 20, "larger than the first map, which must have grown"
    assert peak < written / 2
    assert store.verify(report.live.version).customers == 6_000


def test_damage_is_found(place: Place, store: ServingStore):
    august = put(store, "2026-08", AUGUST).live
    put(store, "2026-09", SEPTEMBER)
    place.damage(august.version, b"every 14 days", b"every 15 days")

    with pytest.raises(ContractError, match="fails its checksum"):
        store.verify(august.version)
    place.damage(august.version, b'"rank":1', b'"rank":0')
    with pytest.raises(ContractError, match="does not read back"):
        rollback(store, august.version)
    assert store.live().month == "2026-09"


def test_what_is_damaged_is_mended_by_publishing_it_again(place: Place, store: ServingStore):
    live = put(store, "2026-08", AUGUST).live
    place.damage(live.version, b"every 14 days", b"every 15 days")
    mended = put(place.open(), "2026-08", AUGUST)
    assert (mended.outcome, place.held()) == ("unchanged", {live.version})
    store.verify(live.version)
    assert b"every 14 days" in place.open().get("ann")


def test_a_file_that_is_gone_is_no_version(lmdb_store: LmdbStore):
    store = lmdb_store
    august = put(store, "2026-08", AUGUST).live
    put(store, "2026-09", SEPTEMBER)
    (store._path / "versions" / f"{august.version}.lmdb").unlink()
    rollback(store, store.live().version)
    with pytest.raises(UnknownVersion):
        rollback(store, august.version)


def test_a_live_version_that_is_gone_is_said_and_mended(lmdb_store: LmdbStore):
    store = lmdb_store
    august = put(store, "2026-08", AUGUST).live
    september = put(store, "2026-09", SEPTEMBER).live
    (store._path / "versions" / f"{september.version}.lmdb").unlink()
    with pytest.raises(StoreUnavailable, match=r"Roll back to a version that is"):
        LmdbStore(store._path).get("ann")
    rollback(store, august.version)
    assert json.loads(LmdbStore(store._path).get("ann"))["version"] == august.version


def test_one_writer_at_a_time(place: Place, store: ServingStore):
    other = place.open()
    with store.writing(), pytest.raises(StoreUnavailable, match="another process is publishing"):
        put(other, "2026-08", AUGUST)
    assert put(other, "2026-08", AUGUST).outcome == "published"


def test_readers_never_see_a_mixture(place: Place, store: ServingStore):
    names = [f"customer {number}" for number in range(200)]
    versions = {}
    for month, product in (("2026-08", "a"), ("2026-09", "b"), ("2026-10", "c")):
        gates = Gates(max_lines_replaced=1)
        manifest = put(store, month, [(name, [line(1, product)]) for name in names], gates=gates).live
        versions[manifest.version] = product
    stop, seen, failures = threading.Event(), set(), []

    def read() -> None:
        reader = place.reader()
        while not stop.is_set():
            reader._look_again_at = 0
            try:
                bodies = [json.loads(body) for body in reader.get_many(names)]
            except StoreUnavailable:
                continue  # a server on a busy machine that did not answer in time: no answer is no mixture
            found = {(body["version"], body["items"][0]["product_id"]) for body in bodies}
            seen.update(found)
            if len(found) != 1 or not found <= set(versions.items()):
                failures.append(found)

    with ThreadPoolExecutor(4) as pool:
        try:
            readers = [pool.submit(read) for _ in range(4)]
            for turn in range(60 if isinstance(place, LmdbPlace) else 15):
                rollback(store, list(versions)[turn % 3])
        finally:
            stop.set()
    for reader in readers:
        reader.result()
    assert failures == []
    assert seen == set(versions.items())


CRASHES = '''
import json, os, shutil, signal, sys
from pathlib import Path

sys.path[:0] = [os.getcwd(), sys.argv[2]]
from test_serving_store import AUGUST, SEPTEMBER, put
from warehouse.serving.lmdb_store import LmdbStore

os.fsync = lambda file: None  # a killed process loses nothing that it wrote; only a killed machine does
TRACED = ("lmdb_store.py", "lmdb_file.py", "publish.py")
folder = Path(sys.argv[1])
template, work = folder / "template", folder / "work"
old = put(LmdbStore(template), "2026-08", AUGUST).live.version


def crash_at(step):
    """Publishes September in a child that is killed before its step-th line; False if it got to the end."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = step

    def local(frame, event, arg):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return local

    sys.settrace(lambda frame, event, arg: local if frame.f_code.co_filename.endswith(TRACED) else None)
    put(LmdbStore(work), "2026-09", SEPTEMBER)
    os._exit(0)


step, live_after = 0, []
while True:
    step += 1
    shutil.copytree(template, work)
    if not crash_at(step):
        break
    store = LmdbStore(work)
    live = store.live()
    store.verify(live.version)
    assert json.loads(store.get("ann"))["version"] == live.version
    live_after.append(live.version == old)
    assert live.version == old or json.loads(store.get("eve"))["month"] == "2026-09"
    mended = put(store, "2026-09", SEPTEMBER)
    left = {path.name for path in (work / "versions").iterdir()}
    assert left == {f"{v}{kind}" for v in (old, mended.live.version) for kind in (".lmdb", ".json")}, left
    assert not list(work.glob(".*"))
    shutil.rmtree(work)
print(json.dumps(live_after))
'''


@pytest.mark.process
def test_a_crash_at_any_line_leaves_a_whole_version_live():
    # Some 450 publishes: in memory where there is such a folder, for LMDB waits for the disk at the end of each.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        done = subprocess.run(
            [sys.executable, "-c", CRASHES, folder, str(Path(__file__).parent)],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    old_was_live = json.loads(done.stdout)
    assert len(old_was_live) > 100
    switch = old_was_live.index(False)
    assert all(old_was_live[:switch])
    assert not any(old_was_live[switch:])
    assert switch > len(old_was_live) / 2, "the switch comes after everything that may fail"


def test_the_setting_chooses_the_store(tmp_path: Path):
    assert open_store(f"lmdb:{tmp_path}/none").live() is None
    assert open_store(f"lmdb:{tmp_path}/none").snapshot() is None
    assert not (tmp_path / "none").exists(), "reading creates nothing"
    with pytest.raises(SettingsError, match="It takes lmdb:PATH"):
        open_store("redis:lists")


def test_serving_reaches_neither_spark_nor_dagster():
    script = (
        "import sys, warehouse.serving.api, warehouse.serving.publish, warehouse.serving.lmdb_store\n"
        "import warehouse.serving.dynamodb_store\n"
        "print([name for name in ('pyspark', 'dagster', 'pyarrow', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
