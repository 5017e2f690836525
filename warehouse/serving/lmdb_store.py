"""The serving store in a folder: one immutable LMDB file a version, and a pointer that is replaced atomically.

    PATH/CURRENT                    name of the live version
    PATH/WRITER                     locked (flock) by the one process that publishes
    PATH/versions/<version>.lmdb    the lists
    PATH/versions/<version>.json    the manifest; a version without one does not exist

A version is written as ``.building.lmdb``, checked, renamed, and only then given its manifest; so a crash at any
point leaves the live version live and readable, and the next build removes the rest. Needs a POSIX file system.
Not here: the bytes of one file (``lmdb_file.py``), and the order of a publish (``publish.py``).
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from warehouse.errors import ContractError, StoreUnavailable, UnknownVersion
from warehouse.serving.diff import diff_scans
from warehouse.serving.lmdb_file import VersionFile, check_file, open_version, remove_file, write_lists
from warehouse.serving.store import Manifest, ServingReader, VersionDiff, check_version_name

FOLLOW_SECONDS = 0.1
"""How often, at most, a reader looks whether another version is live: the bound on its staleness."""

_log = logging.getLogger(__name__)
_BUILDING = ".building.lmdb"


class LmdbStore(ServingReader):
    """Implements :class:`warehouse.serving.store.ServingStore` in the folder ``path``. Opening creates nothing."""

    waits = False

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser().absolute()
        self._versions = self._path / "versions"
        self._current = self._path / "CURRENT"
        self._snapshot: VersionFile | None = None
        self._pointer: tuple[int, int] | None = None
        self._failed: tuple[int, int] | None = None
        self._look_again_at = 0.0
        self._following = threading.Lock()

    # Writing -----------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Makes the caller the only writer; the lock goes with the process, however it ends."""
        self._versions.mkdir(parents=True, exist_ok=True)
        with (self._path / "WRITER").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreUnavailable(f"another process is publishing to {self._path}: try again later") from None
            yield

    def build(
        self, month: str, lists: Iterable[tuple[str, bytes]], *, generated_at: datetime, expires_at: datetime
    ) -> Manifest:
        """Writes a verified version that is not live; see the protocol."""
        self._clean()
        building = self._versions / _BUILDING
        try:
            digest = write_lists(building, lists)
            manifest = Manifest.of(month, digest, generated_at, expires_at)
            held = self._sound(manifest)
            if held is not None:
                return held
            check_file(open_version(building, manifest), full=True)
            building.replace(self._file(manifest.version))
            self._write_manifest(manifest)
        finally:
            remove_file(building)
        return manifest

    def verify(self, version: str, *, full: bool = True) -> Manifest:
        """Checks a version against its manifest; see the protocol."""
        manifest = self._manifest(version)
        check_file(open_version(self._file(version), manifest), full=full)
        return manifest

    def activate(self, version: str) -> Manifest:
        """Marks a version released, then points to it."""
        manifest = self._manifest(version)
        if manifest.released_at is None:
            manifest = manifest.model_copy(update={"released_at": datetime.now(UTC)})
            self._write_manifest(manifest)
        if self._read_pointer() != version:
            _replace_file(self._current, f"{version}\n")
        return manifest

    def discard(self, version: str) -> None:
        """Removes a version that is not live, its manifest first, so that half a removal is no version."""
        if version == self._read_pointer():
            raise ContractError(f"{version} is live: activate another version before removing it")
        self._manifest_file(version).unlink(missing_ok=True)
        remove_file(self._file(version))

    def prune(self, keep: int) -> list[str]:
        """Removes all but the latest ``keep`` releases and the live one."""
        live = self._read_pointer()
        surplus = [manifest.version for manifest in self.versions()[keep:] if manifest.version != live]
        for version in surplus:
            self.discard(version)
        return surplus

    # Looking -----------------------------------------------------------------------------------------------

    def live(self) -> Manifest | None:
        """The live version's manifest, read now."""
        version = self._read_pointer()
        if version is None:
            return None
        try:
            return self._manifest(version)
        except UnknownVersion as error:
            raise StoreUnavailable(
                f"{self._current} names {version}, which is not there ({error}). "
                "Roll back to a version that is, or remove that file and publish again"
            ) from error

    def versions(self) -> list[Manifest]:
        """The released versions, latest release first."""
        manifests = [_read_manifest(path) for path in self._versions.glob("[!.]*.json")]
        released = [manifest for manifest in manifests if manifest is not None and manifest.released_at is not None]
        return sorted(released, key=lambda manifest: manifest.released_at, reverse=True)

    def diff(self, a: str, b: str) -> VersionDiff:
        """Compares two versions in one pass over both; see the protocol."""
        before, after = (open_version(self._file(version), self._manifest(version)) for version in (a, b))
        return diff_scans(a, before.scan(), b, after.scan())

    def snapshot(self) -> VersionFile | None:
        """The live version for reading, at most :data:`FOLLOW_SECONDS` old."""
        if time.monotonic() >= self._look_again_at:
            with self._following:
                self._follow()
                self._look_again_at = time.monotonic() + FOLLOW_SECONDS
        return self._snapshot

    def _follow(self) -> None:
        """Opens the version that CURRENT names, if it is another; on failure the open one stays in use."""
        failure: StoreUnavailable | None = None
        # A second attempt: CURRENT may be replaced, and what it named pruned, between reading it and opening that.
        for _attempt in range(2):
            try:
                stat = self._current.stat()
            except FileNotFoundError:
                self._snapshot = self._pointer = None
                return
            except OSError as error:
                raise StoreUnavailable(f"{self._current} cannot be read: {error}") from error
            # Should CURRENT be replaced after this stat, the next look sees another pointer.
            pointer = (stat.st_ino, stat.st_mtime_ns)
            if pointer == self._pointer:
                return
            try:
                manifest = self.live()
                if manifest is not None:
                    self._snapshot, self._pointer = open_version(self._file(manifest.version), manifest), pointer
                    return
            except StoreUnavailable as error:
                failure = error
        self._stay(pointer, failure)

    def _stay(self, pointer: tuple[int, int], failure: StoreUnavailable | None) -> None:
        """The live version cannot be opened: keeps serving the one before it, and says so once."""
        if self._snapshot is None and failure is not None:
            raise failure
        if failure is not None and pointer != self._failed:
            self._failed = pointer
            _log.error("still serving %s: %s", self._snapshot.manifest.version, failure)

    # Files -------------------------------------------------------------------------------------------------

    def _file(self, version: str) -> Path:
        return self._versions / f"{check_version_name(version)}.lmdb"

    def _manifest_file(self, version: str) -> Path:
        return self._versions / f"{check_version_name(version)}.json"

    def _read_pointer(self) -> str | None:
        try:
            return self._current.read_text().strip()
        except FileNotFoundError:
            return None

    def _manifest(self, version: str) -> Manifest:
        manifest = _read_manifest(self._manifest_file(version))
        if manifest is None or not self._file(version).exists():
            held = ", ".join(manifest.version for manifest in self.versions()) or "none"
            raise UnknownVersion(f"the serving store holds no version {version}. It holds: {held}")
        return manifest

    def _write_manifest(self, manifest: Manifest) -> None:
        _replace_file(self._manifest_file(manifest.version), manifest.model_dump_json(indent=2))

    def _sound(self, wanted: Manifest) -> Manifest | None:
        """The version of the same content that is there already, if it still verifies."""
        try:
            held = self.verify(wanted.version)
        except (UnknownVersion, ContractError, StoreUnavailable):
            return None
        return held if held.checksum == wanted.checksum else None

    def _clean(self) -> None:
        """Removes what interrupted writers left: temporary files, and versions that were never released."""
        released = {manifest.version for manifest in self.versions()}
        for path in [*self._versions.iterdir(), *self._path.glob(".*.tmp")]:
            if path.name.startswith(".") or path.name.split(".")[0] not in released:
                path.unlink()


def _read_manifest(path: Path) -> Manifest | None:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StoreUnavailable(f"the manifest {path} cannot be read: {error}") from error


def _replace_file(path: Path, text: str) -> None:
    """Writes a file so that readers, and the disk after a crash, have either the old text or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
