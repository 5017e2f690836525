"""Where request and response shards stand, and how a month of them is answered.

``<lake>/llm/<month>/requests/shard-00000.jsonl`` and ``…/responses/`` with the same names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.fs as pafs

from warehouse.files import write_whole
from warehouse.llm.contract import BatchClient, PendingShard, custom_id_of, from_jsonl, parse_response, to_jsonl


def requests_folder(month: str) -> str:
    """Folder of a month's request shards below the lake."""
    return f"llm/{month}/requests"


def responses_folder(month: str) -> str:
    """Folder of a month's response shards below the lake."""
    return f"llm/{month}/responses"


def read_lines(lake: pafs.FileSystem, path: str) -> list[str]:
    """Lines of a shard; none if it does not exist."""
    if lake.get_file_info(path).type != pafs.FileType.File:
        return []
    with lake.open_input_stream(path, compression=None) as stream:
        return from_jsonl(stream.read())


def write_lines(lake: pafs.FileSystem, path: str, lines: list[str]) -> None:
    """Writes a shard, which no reader sees before it is whole."""
    write_whole(lake, path, lambda stream: stream.write(to_jsonl(lines)))


def answer_month(lake: pafs.FileSystem, month: str, shards: list[str], client: BatchClient) -> dict[str, int]:
    """Answers every request of the month that has no finished answer yet.

    What a client delivers is kept at once, so that a run that was killed goes on with what is missing.

    Returns:
        ``asked``: requests handed to the client now; ``reused``: answers found from before.
    """
    counts = {"asked": 0, "reused": 0}
    keeper = _Keeper(lake, month)
    try:
        client.answer(month, _pending(lake, month, shards, keeper, counts), keeper.add)
    finally:
        keeper.close()
    return counts


def _pending(
    lake: pafs.FileSystem, month: str, shards: list[str], keeper: "_Keeper", counts: dict[str, int]
) -> Iterator[PendingShard]:
    for shard in shards:
        requests = {custom_id_of(line): line for line in read_lines(lake, f"{requests_folder(month)}/{shard}")}
        kept = finished_answers(lake, month, shard)
        kept = {custom_id: line for custom_id, line in kept.items() if custom_id in requests}
        missing = [line for custom_id, line in requests.items() if custom_id not in kept]
        counts["asked"] += len(missing)
        counts["reused"] += len(kept)
        if missing:
            keeper.begin(shard, list(kept.values()), len(missing))
            yield PendingShard(shard, missing)


def finished_answers(lake: pafs.FileSystem, month: str, shard: str) -> dict[str, str]:
    """Response lines by id that are there for the shard; those of requests that failed are left out."""
    lines = read_lines(lake, f"{responses_folder(month)}/{shard}")
    return {answer.custom_id: line for line in lines if (answer := parse_response(line)) and answer.is_finished}


@dataclass
class _Held:
    """Lines of a shard on an object store, how many are still awaited, and how many are not written yet."""

    lines: list[str]
    awaited: int
    unwritten: int = 0


class _Keeper:
    """Writes response shards while answers come in.

    On a disk each answer is appended. An object store has no append: there the shard is written anew for every
    ``_ANSWERS_A_WRITE`` answers, and the last time when the client is done.
    """

    _ANSWERS_A_WRITE = 100

    def __init__(self, lake: pafs.FileSystem, month: str) -> None:
        self._lake, self._folder = lake, responses_folder(month)
        self._can_append = _is_local(lake)
        self._held: dict[str, _Held] = {}

    def begin(self, shard: str, kept: list[str], awaited: int) -> None:
        """Starts the shard anew with the answers that stay; a line that a kill tore goes."""
        write_lines(self._lake, f"{self._folder}/{shard}", kept)
        if not self._can_append:
            self._held[shard] = _Held(kept, awaited)

    def add(self, shard: str, lines: list[str]) -> None:
        """Keeps answers of the shard."""
        if self._can_append:
            with self._lake.open_append_stream(f"{self._folder}/{shard}", compression=None) as stream:
                stream.write(to_jsonl(lines))
            return
        held = self._held[shard]
        held.lines += lines
        held.awaited -= len(lines)
        held.unwritten += len(lines)
        if held.awaited <= 0:
            self._write(shard)
            del self._held[shard]
        elif held.unwritten >= self._ANSWERS_A_WRITE:
            self._write(shard)

    def close(self) -> None:
        """Writes what is not written yet."""
        for shard, held in self._held.items():
            if held.unwritten:
                self._write(shard)

    def _write(self, shard: str) -> None:
        held = self._held[shard]
        write_lines(self._lake, f"{self._folder}/{shard}", held.lines)
        held.unwritten = 0


def _is_local(lake: pafs.FileSystem) -> bool:
    base = lake.base_fs if isinstance(lake, pafs.SubTreeFileSystem) else lake
    return isinstance(base, pafs.LocalFileSystem)
