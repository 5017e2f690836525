"""What a month of requests will take before any is sent (``python -m jobs.list_decisions --month M --dry-run``).

Tokens are estimated from characters: by what earlier months of the same model took where there are any, else by a rule
of thumb of four characters a token. An answer is taken to be as long as the policy's to the same request.
"""

import json
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.report import JobReport
from transforms.policy import decide
from warehouse.contracts.gold import LIST_DECISIONS, LIST_REQUESTS
from warehouse.files import open_filesystem
from warehouse.lake import Lake
from warehouse.llm.clients import model_of
from warehouse.llm.contract import content_of, custom_id_of
from warehouse.llm.shards import finished_answers, read_lines, requests_folder
from warehouse.settings import Settings

TokenPrices = tuple[float, float]

CHARACTERS_A_TOKEN = 4.0
"""Rule of thumb for English text; JSON of figures takes more tokens, so that a first estimate is rather low."""


def estimate(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Requests to send of each month, with tokens and US dollars of all of them.

    Reads the request shards one after the other, and what was answered before.

    Raises:
        MissingMonth: a month has no requests.
    """
    folder = open_filesystem(settings.lake, settings.s3_endpoint)
    rows: dict[str, int] = {}
    customers = characters = answer_characters = shards = 0
    for month in months:
        rows[month] = 0
        for shard in shards_of(lake.require_months(LIST_REQUESTS, [month])):
            lines = read_lines(folder, f"{requests_folder(month)}/{shard}")
            answered = finished_answers(folder, month, shard)
            pending = [line for line in lines if custom_id_of(line) not in answered]
            shards, customers, rows[month] = shards + 1, customers + len(lines), rows[month] + len(pending)
            for body in (json.loads(line)["body"] for line in pending):
                characters += sum(len(message["content"]) for message in body["messages"])
                answer_characters += len(json.dumps(decide(content_of(body))))
    model = model_of(settings.llm)
    measured = _prompt_tokens_a_request(lake, model)
    prompt_tokens = round(sum(rows.values()) * measured if measured else characters / CHARACTERS_A_TOKEN)
    completion_tokens = round(answer_characters / CHARACTERS_A_TOKEN)
    cost = cost_usd(prompt_tokens, completion_tokens, token_prices(settings))
    details = {
        "model": model,
        "shards": shards,
        "customers": customers,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "tokens_by": "earlier months of this model" if measured else f"{CHARACTERS_A_TOKEN:g} characters a token",
        "cost_usd": round(cost, 4),
    }
    return JobReport("dry run, nothing was sent", rows, details)


def shards_of(requests: DataFrame) -> list[str]:
    """File names of the month's request shards, in order."""
    return [row.shard for row in requests.select("shard").distinct().orderBy("shard").collect()]


def token_prices(settings: Settings) -> TokenPrices:
    """US dollars for a million prompt tokens and a million completion tokens."""
    return settings.llm_input_usd_per_million, settings.llm_output_usd_per_million


def cost_usd(prompt_tokens: int, completion_tokens: int, prices: TokenPrices) -> float:
    """What tokens cost, in US dollars."""
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6


def _prompt_tokens_a_request(lake: Lake, model: str) -> float | None:
    asked = lake.read(LIST_DECISIONS).where((F.col("model") == model) & (F.col("prompt_tokens") > 0))
    row = asked.groupBy("month").agg(F.avg("prompt_tokens").alias("tokens")).orderBy(F.desc("month")).first()
    return row.tokens if row else None
