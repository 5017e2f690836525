"""Opening and closing one version's file from several threads and stores of one process."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import lmdb
import pytest

from warehouse.serving import lmdb_shared
from warehouse.serving.lmdb_file import VersionFile, open_version, write_lists
from warehouse.serving.store import Manifest

NOW = datetime(2026, 9, 2, 3, tzinfo=UTC)


def written(path: Path, items: bytes = b"[]") -> Manifest:
    digest = write_lists(path, [("ann", items)])
    return Manifest(
        version=digest.version("2026-09"),
        month="2026-09",
        generated_at=NOW,
        expires_at=NOW,
        customers=digest.customers,
        lines=digest.lines,
        checksum=digest.checksum(),
    )


def is_open(path: Path) -> bool:
    return lmdb_shared._key(path) in lmdb_shared._open


def test_threads_may_open_what_others_are_just_closing(tmp_path: Path):
    path = tmp_path / "version.lmdb"
    manifest = written(path)
    together = threading.Barrier(4)

    def open_and_drop() -> None:
        for _turn in range(400):
            together.wait(10)
            # The hold goes with the statement, and often it is the last one.
            assert open_version(path, manifest).get("ann") is not None
            assert open_version(path, manifest).get("ann") is not None

    def run() -> None:
        try:
            open_and_drop()
        except BaseException:
            together.abort()
            raise

    with ThreadPoolExecutor(4) as pool:
        errors = [thread.exception() for thread in [pool.submit(run) for _ in range(4)]]
    assert errors == [None] * 4
    assert not is_open(path)


def test_a_file_is_closed_with_its_last_reader_and_not_before(tmp_path: Path):
    path = tmp_path / "version.lmdb"
    manifest = written(path)
    first, second = open_version(path, manifest), open_version(path, manifest)
    del first
    assert second.get("ann") is not None
    rows = second.scan()
    next(rows)
    del second
    assert is_open(path), "who is in the midst of a scan reads on"
    del rows
    assert not is_open(path)


def test_a_file_is_not_opened_again_before_its_close_has_ended(tmp_path: Path):
    path = tmp_path / "version.lmdb"
    manifest = written(path)
    closing, go_on = threading.Event(), threading.Event()
    reader = open_version(path, manifest)
    entry = lmdb_shared._open[lmdb_shared._key(path)]
    environment = entry.environment

    class Slow:
        def close(self) -> None:
            closing.set()
            assert go_on.wait(10)
            environment.close()

    entry.environment = Slow()
    holds = [reader]
    del reader
    with ThreadPoolExecutor(2) as pool:
        try:
            closer = pool.submit(holds.clear)
            assert closing.wait(10)
            opener = pool.submit(open_version, path, manifest)
            with pytest.raises(TimeoutError):
                opener.result(0.2)
        finally:
            go_on.set()
        closer.result()
        assert opener.result().get("ann") is not None


def test_a_reader_may_become_garbage_while_its_thread_opens_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old, new = tmp_path / "old.lmdb", tmp_path / "new.lmdb"
    old_manifest, new_manifest = written(old), written(new)
    holds: list[VersionFile] = [open_version(old, old_manifest)]
    holds.append(holds)  # a cycle: the garbage collector's to find, at a moment of its choosing
    opened = lmdb.open

    def collect_and_open(*args: object, **options: object) -> lmdb.Environment:
        gc.collect()
        return opened(*args, **options)

    monkeypatch.setattr(lmdb, "open", collect_and_open)
    del holds
    assert open_version(new, new_manifest).get("ann") is not None
    assert not is_open(old)


def test_another_file_of_the_same_name_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, other = tmp_path / "version.lmdb", tmp_path / "other.lmdb"
    manifest = written(path, b'["old"]')
    written(other, b'["new"]')
    held = open_version(path, manifest)
    before = tmp_path / "before.lmdb"
    written(before)
    opened = lmdb.open

    def replace_and_open(*args: object, **options: object) -> lmdb.Environment:
        if other.exists():
            other.replace(before)
        return opened(*args, **options)

    monkeypatch.setattr(lmdb, "open", replace_and_open)
    reader = open_version(before, manifest)
    assert (b'"new"' in reader.get("ann"), b'"old"' in held.get("ann")) == (True, True)
    before.replace(path)
    again = open_version(path, manifest)
    assert b'"new"' in again.get("ann")
    assert again._env is reader._env
