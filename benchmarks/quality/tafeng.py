"""Reads the Ta-Feng baskets of the Reality Check; the data stay outside the repository.

The data's licence is unknown: they may be measured, and nothing of them may be copied into the repository or a release.
Here belongs what knows the files; what is computed from baskets belongs in the modules beside it.
"""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DEFAULT_FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "tafeng"
VARIABLE = "REPLENISH_TAFENG"
FILES = ("tafeng_history.json", "tafeng_future.json", "tafeng_keyset_0.json", "tafeng_pop.csv")

Basket = np.ndarray
History = list[Basket]


class TaFengAbsentError(FileNotFoundError):
    """The folder lacks the data; a retry does not help, another folder does."""


@dataclass(frozen=True)
class Splits:
    """The authors' fold 0: positions of users (int64, one axis), each in the key set's order."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class BasketData:
    """Users' baskets; users and items are positions from 0.

    ``histories`` and ``targets``: one entry a user. A history is its baskets in order, at least two in Ta-Feng; a
    basket is item ids (int64), none twice, in the file's order; a target is one basket. ``popular``: all items, the
    most bought in the histories first.
    """

    histories: list[History] = field(repr=False)
    targets: list[Basket] = field(repr=False)
    splits: Splits = field(repr=False)
    popular: np.ndarray = field(repr=False)
    items: int


def tafeng_folder(chosen: Path | None = None) -> Path:
    """The data's folder: the chosen one, else ``REPLENISH_TAFENG``, else ``../shared/data/tafeng`` of the repository.

    Raises ``TaFengAbsentError`` where a file is missing.
    """
    folder = chosen or Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise TaFengAbsentError(
            f"No Ta-Feng data in {folder}: {', '.join(missing)} missing. Name the folder with --data or {VARIABLE}. "
            "The files are those of liming-7/A-Next-Basket-Recommendation-Reality-Check and fold 0 of "
            "lynEcho/NBR-fairness; their licence is unknown, so they are not part of this repository."
        )
    return folder


def read_tafeng(folder: Path) -> BasketData:
    """The baskets, the users of the three splits and the global list, from the four files of ``folder``."""
    histories, targets, keys = (json.loads((folder / name).read_text()) for name in FILES[:3])
    with (folder / FILES[3]).open(newline="") as lines:
        popular = [int(line["product_id"]) for line in csv.DictReader(lines)]
    position = {user: number for number, user in enumerate(histories)}
    splits = {name: np.array([position[user] for user in keys[name]]) for name in ("train", "val", "test")}
    return BasketData(
        histories=[_between_markers(baskets) for baskets in histories.values()],
        targets=[_between_markers(targets[user])[0] for user in histories],
        splits=Splits(**splits),
        popular=np.array(popular),
        items=int(keys["item_num"]),
    )


def _between_markers(baskets: Sequence[Sequence[int]]) -> History:
    return [np.array(basket, dtype=np.int64) for basket in baskets if list(basket) != [-1]]
