"""The LMDB environments this process has open for reading: one a file, however many readers hold it.

LMDB must not open one file twice in a process. Its environment counts as open until its close has ended, which other
threads may run beside; so both opening and closing happen under one lock, and a file is forgotten only once closed.
Not here: what the file holds (``lmdb_file.py``).
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from weakref import finalize

import lmdb

_FileKey = tuple[int, int]
"""Device and inode: what LMDB goes by, and free for another file only after the close."""


class SharedEnvironment:
    """A reader's hold on an environment, which is closed when the last hold on it is garbage."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self.environment = environment


@dataclass(slots=True)
class _Open:
    environment: lmdb.Environment
    holds: int = 0


_open: dict[_FileKey, _Open] = {}
_lock = threading.Lock()
# A hold may become garbage anywhere, in a thread that has the lock too: it is only noted here, and counted down by
# whoever gets the lock. SimpleQueue.put is the one that may be called in the midst of another.
_dropped: "SimpleQueue[_FileKey]" = SimpleQueue()


def open_shared(path: Path) -> SharedEnvironment:
    """Opens a file that no process writes any more, or joins those who have it open.

    Raises:
        OSError: there is no such file.
        lmdb.Error: it cannot be opened.
    """
    try:
        with _lock:
            while (key := _key(path)) not in _open:
                environment = _open_file(path, key)
                if environment is not None:
                    _open[key] = _Open(environment)
            _open[key].holds += 1
            shared = SharedEnvironment(_open[key].environment)
            # Not at exit: the process takes its maps with it, and a daemon thread may be reading still.
            finalize(shared, _drop, key).atexit = False
            return shared
    finally:
        _close_dropped()


def _open_file(path: Path, key: _FileKey) -> lmdb.Environment | None:
    """Opens what is at ``path``; None where another file than ``key`` has come there meanwhile."""
    # Lookups are scattered: read-ahead would fill the page cache with neighbours nobody asked for.
    environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, create=False, readahead=False)
    same = False
    try:
        same = _key(path) == key
    finally:
        if not same:
            environment.close()
    return environment if same else None


def _key(path: Path) -> _FileKey:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _drop(key: _FileKey) -> None:
    _dropped.put(key)
    _close_dropped()


def _close_dropped() -> None:
    """Counts dropped holds down and closes what nobody holds. Where the lock is taken, its holder does it after."""
    while not _dropped.empty() and _lock.acquire(blocking=False):
        try:
            while not _dropped.empty():
                key = _dropped.get_nowait()
                _open[key].holds -= 1
                if not _open[key].holds:
                    _open[key].environment.close()
                    del _open[key]
        finally:
            _lock.release()
