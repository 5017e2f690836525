"""The lists of a build in a file of their own, so that they can be looked up by customer while the table is read.

Needs room for the lists' JSON in the folder for temporary files. What a killed process left there is removed by the
next build on the machine. Not here: what the lists are compared with (``dynamodb_build.py``).
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import lmdb

from warehouse.serving.lmdb_file import write_lists

_PREFIX = "replenish-publish-"
_NOTES = 1_000


@contextmanager
def stage(lists: Iterable[tuple[str, bytes]]) -> Iterator["Staged"]:
    """Stages the lists for the block.

    Raises:
        ContractError: a customer comes twice, or an id does not fit.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        with (folder / "LOCK").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with closing(Staged(folder, lists)) as staged:
                yield staged


def _remove_if_left(folder: Path) -> None:
    """Removes a folder of this user whose process is gone: the lock went with it."""
    try:
        with (folder / "LOCK").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # in use, another user's, or just being made


class Staged:
    """Staged lists. Made by :func:`stage`."""

    def __init__(self, folder: Path, lists: Iterable[tuple[str, bytes]]) -> None:
        path = folder / "lists.lmdb"
        self.digest = write_lists(path, lists, durable=False)
        self._lists = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
        # A set of ten million ids would not fit into memory.
        room = path.stat().st_size + (16 << 20)
        self._taken = lmdb.open(
            str(folder / "taken.lmdb"), subdir=False, map_size=room, lock=False, sync=False, metasync=False
        )
        self._noted: list[bytes] = []

    def take(self, customer_id: str) -> bytes | None:
        """The customer's list, which :meth:`rest` will not give again."""
        key = customer_id.encode()
        with self._lists.begin() as transaction:
            items = transaction.get(key)
        if items is not None:
            self._noted.append(key)
            if len(self._noted) >= _NOTES:
                self._note()
        return items

    def rest(self) -> Iterator[tuple[str, bytes]]:
        """The lists that were not taken."""
        self._note()
        with self._taken.begin() as taken, self._lists.begin() as lists:
            gone = taken.cursor().iternext(values=False)
            next_gone = next(gone, None)
            for key, items in lists.cursor():
                if key == next_gone:
                    next_gone = next(gone, None)
                else:
                    yield key.decode(), items

    def close(self) -> None:
        """Closes the files."""
        self._lists.close()
        self._taken.close()

    def _note(self) -> None:
        with self._taken.begin(write=True) as transaction:
            transaction.cursor().putmulti([(key, b"") for key in sorted(self._noted)])
        self._noted.clear()
