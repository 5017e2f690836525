"""Where request and response shards stand, and how a month of them is answered.

``<lake>/llm/<month>/requests/shard-00000.jsonl`` and ``…/responses/`` with the same names.
"""

import json
from collections.abc import Iterator

import pyarrow.fs as pafs

from warehouse.llm.contract import BatchClient, PendingShard, parse_response


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
        # Not splitlines, which also breaks at characters that JSON leaves as they are, such as U+2028.
        return [line for line in stream.read().decode("utf-8").split("\n") if line.strip()]


def write_lines(lake: pafs.FileSystem, path: str, lines: list[str]) -> None:
    """Writes a shard whole: under another name first, so that a reader never sees half of it."""
    folder, _, name = path.rpartition("/")
    lake.create_dir(folder, recursive=True)
    partial = f"{folder}/_{name}"
    with lake.open_output_stream(partial, compression=None) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
    lake.move(partial, path)


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
        keeper.begin(shard, list(kept.values()), len(missing))
        if missing:
            yield PendingShard(shard, missing)


def finished_answers(lake: pafs.FileSystem, month: str, shard: str) -> dict[str, str]:
    """Response lines by id that are there for the shard; those of requests that failed are left out."""
    lines = read_lines(lake, f"{responses_folder(month)}/{shard}")
    return {answer.custom_id: line for line in lines if (answer := parse_response(line)) and answer.is_finished}


class _Keeper:
    """Writes response shards while answers come in.

    On a disk each answer is appended. An object store has no append: there the shard is written anew for every
    ``_ANSWERS_A_WRITE`` answers, and the last time when the client is done.
    """

    _ANSWERS_A_WRITE = 100

    def __init__(self, lake: pafs.FileSystem, month: str) -> None:
        self._lake, self._folder = lake, responses_folder(month)
        self._can_append = _is_local(lake)
        self._held: dict[str, list[str]] = {}
        self._awaited: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}

    def begin(self, shard: str, kept: list[str], awaited: int) -> None:
        """Starts the shard anew with the answers that stay; a line that a kill tore goes."""
        write_lines(self._lake, f"{self._folder}/{shard}", kept)
        if awaited and not self._can_append:
            self._held[shard], self._awaited[shard], self._unwritten[shard] = kept, awaited, 0

    def add(self, shard: str, lines: list[str]) -> None:
        """Keeps answers of the shard."""
        if self._can_append:
            with self._lake.open_append_stream(f"{self._folder}/{shard}", compression=None) as stream:
                stream.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
            return
        self._held[shard] += lines
        self._awaited[shard] -= len(lines)
        self._unwritten[shard] += len(lines)
        if self._awaited[shard] <= 0:
            self._write(shard)
            del self._held[shard], self._unwritten[shard]
        elif self._unwritten[shard] >= self._ANSWERS_A_WRITE:
            self._write(shard)

    def close(self) -> None:
        """Writes what is not written yet."""
        for shard in [shard for shard, count in self._unwritten.items() if count]:
            self._write(shard)

    def _write(self, shard: str) -> None:
        write_lines(self._lake, f"{self._folder}/{shard}", self._held[shard])
        self._unwritten[shard] = 0


def _is_local(lake: pafs.FileSystem) -> bool:
    base = lake.base_fs if isinstance(lake, pafs.SubTreeFileSystem) else lake
    return isinstance(base, pafs.LocalFileSystem)


def custom_id_of(line: str) -> str:
    """Id of a request line."""
    return str(json.loads(line)["custom_id"])
