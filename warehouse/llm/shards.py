"""Where request and response shards stand, and how a month of them is answered.

``<lake>/llm/<month>/requests/shard-00000.jsonl`` and ``…/responses/`` with the same names.
"""

import json

import pyarrow.fs as pafs

from warehouse.llm.contract import BatchClient, parse_response


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
        return stream.read().decode("utf-8").splitlines()


def write_lines(lake: pafs.FileSystem, path: str, lines: list[str]) -> None:
    """Writes a shard whole: under another name first, so that a reader never sees half of it."""
    folder, _, name = path.rpartition("/")
    lake.create_dir(folder, recursive=True)
    partial = f"{folder}/_{name}"
    with lake.open_output_stream(partial, compression=None) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
    lake.move(partial, path)


def answer_month(lake: pafs.FileSystem, month: str, shards: list[str], client: BatchClient) -> dict[str, int]:
    """Answers every request of the month that has no answer yet, shard by shard.

    Returns:
        ``asked``: requests sent now; ``reused``: answers found from before.
    """
    asked = reused = 0
    for shard in shards:
        target = f"{responses_folder(month)}/{shard}"
        kept = {}
        for line in read_lines(lake, target):
            answer = parse_response(line)
            if answer and answer.finish_reason == "stop":
                kept[answer.custom_id] = line
        requests = {_custom_id(line): line for line in read_lines(lake, f"{requests_folder(month)}/{shard}")}
        kept = {custom_id: line for custom_id, line in kept.items() if custom_id in requests}
        missing = [line for custom_id, line in requests.items() if custom_id not in kept]
        if missing or not kept:
            write_lines(lake, target, [*kept.values(), *client.answer(missing)])
        asked, reused = asked + len(missing), reused + len(kept)
    return {"asked": asked, "reused": reused}


def _custom_id(line: str) -> str:
    return str(json.loads(line)["custom_id"])
