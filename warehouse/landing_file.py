"""What the readers of every format share: the landed file, its problem, and its columns' names.

Not here: how a format is read (``landing_text.py``, ``landing_parquet.py``) and which files there are (``landing.py``).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from warehouse.contracts.landing import BLANKS, Dataset

FORMATS = (".parquet", ".csv", ".csv.gz", ".ndjson", ".ndjson.gz")
AGAIN = "land it again under another name"


@dataclass(frozen=True)
class LandedFile:
    """A file below the landing folder, as the store lists it."""

    dataset: str
    path: str
    size_bytes: int
    modified_at: datetime

    @property
    def file_id(self) -> str:
        """Short hash of the path: what rows carry."""
        return hashlib.sha256(self.path.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class FileProblem(Exception):
    """A file that cannot be used as a whole: reason code, message with the fix, column at fault, rows that it holds."""

    def __init__(self, reason: str, message: str, column: str | None = None, rows: int = 0) -> None:
        super().__init__(message)
        self.reason, self.column, self.message, self.rows = reason, column, message, rows


def match_columns(
    names: Sequence[str], file: LandedFile, dataset: Dataset, count_rows: Callable[[], int]
) -> dict[int, str]:
    """Places of the dataset's columns among a file's: case, blanks and quotes round a name do not count.

    Args:
        names: the file's column names in order.
        file: for the error's text.
        dataset: whose columns are looked for; others are ignored.
        count_rows: rows that the file holds; called only where it cannot be used.

    Raises:
        FileProblem: a column stands there twice, or a required one is missing.
    """
    known = set(dataset.column_names)
    places = {place: name for place, raw in enumerate(names) if (name := plain_name(raw)) in known}
    present = list(places.values())
    doubled = sorted({name for name in present if present.count(name) > 1})
    if doubled:
        text = f"{file.path} has the column {', '.join(doubled)} more than once: leave one, {AGAIN}"
        raise FileProblem("duplicate_column", text, doubled[0], count_rows())
    missing = [name for name in dataset.required_columns if name not in present]
    if missing:
        found = ", ".join(plain_name(name) for name in names)[:300].encode("utf-8", "replace").decode()
        text = f"{file.path} lacks the column {', '.join(missing)} (it has: {found}): add it, {AGAIN}"
        raise FileProblem("missing_column", text, missing[0], count_rows())
    return places


def plain_name(name: str) -> str:
    """A column's name in lower case, without what may stand round it."""
    return name.strip(_AROUND_NAMES).casefold()


_AROUND_NAMES = BLANKS + "\"'`"
