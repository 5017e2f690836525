"""Request shards → the LLM batch client → response shards → gold/list_decisions.

Requests that were answered before under the same id are not asked again. Every answer is judged
(``transforms/guardrails.py``); a customer whose answer does not stand gets the policy's list, and the reason is
counted. A run that is killed goes on with what has no answer. ``--dry-run`` says what a month will take.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.champion import POLICY
from jobs.cli import run_job
from jobs.llm_estimate import TokenPrices, cost_usd, estimate, shards_of, token_prices
from jobs.report import JobReport
from transforms.guardrails import Verdict, judge_answer
from transforms.policy import decide
from warehouse.contracts.gold import FINISH_REASONS, LIST_DECISIONS, LIST_REQUESTS
from warehouse.contracts.table import arrow_schema, spark_schema
from warehouse.files import open_filesystem
from warehouse.lake import Lake
from warehouse.llm.clients import open_client
from warehouse.llm.contract import Answer, BatchClient, content_of, parse_response
from warehouse.llm.shards import answer_month, read_lines, requests_folder, responses_folder
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/list_decisions``.

    Raises:
        MissingMonth: a month has no requests.
        SettingsError: the client that ``REPLENISH_LLM`` names is not available.
    """
    client = open_client(settings, decide)
    folder = open_filesystem(settings.lake, settings.s3_endpoint)
    rows: dict[str, int] = {}
    details: dict[str, object] = {}
    for month in sorted(months):
        requests = lake.require_months(LIST_REQUESTS, [month])
        asked = answer_month(folder, month, shards_of(requests), client)
        decisions = _decisions(requests, settings, month, client)
        rows[month] = lake.replace_months(LIST_DECISIONS, decisions, [month]).rows
        hit_share = round(asked["reused"] / max(asked["reused"] + asked["asked"], 1), 4)
        details = {"client": client.name, "model": client.model, **asked, "cache_hit_share": hit_share}
        details |= _summary(lake, month)
    return JobReport(LIST_DECISIONS.name, rows, details)


@dataclass(frozen=True)
class _Asked:
    """What tasks need to know of the client; no secret goes to them."""

    client: str
    model: str
    prices: TokenPrices


def _decisions(requests: DataFrame, settings: Settings, month: str, client: BatchClient) -> DataFrame:
    """Each task judges whole shards: it reads a shard's requests and responses from the store and joins them by id."""
    uri, endpoint = settings.lake, settings.s3_endpoint
    asked = _Asked(client.name, client.model, token_prices(settings))

    def judge(table: pa.Table) -> pa.Table:
        folder = open_filesystem(uri, endpoint)
        shard = table.column("shard")[0].as_py()
        bodies = {r["custom_id"]: r for r in map(json.loads, read_lines(folder, f"{requests_folder(month)}/{shard}"))}
        answers = (parse_response(line) for line in read_lines(folder, f"{responses_folder(month)}/{shard}"))
        by_id = {answer.custom_id: answer for answer in answers if answer}
        decided = [
            _decide_one(row, bodies[row["custom_id"]], by_id.get(row["custom_id"]), asked) for row in table.to_pylist()
        ]
        return pa.Table.from_pylist(decided, schema=arrow_schema(LIST_DECISIONS))

    return requests.groupBy("shard").applyInArrow(judge, spark_schema(LIST_DECISIONS))


def _decide_one(row: dict, request: dict, answer: Answer | None, asked: _Asked) -> dict:
    content = content_of(request["body"])
    if answer is None:
        verdict = Verdict(None, "missing_answer")
    else:
        verdict = judge_answer(answer.content, answer.finish_reason, content)
    accepted = verdict.answer
    was_asked = asked.client != POLICY
    # The policy's own answer need not be made a second time.
    by_policy = decide(content)["items"] if was_asked or not accepted else []
    items = [item.model_dump() for item in accepted.items] if accepted else by_policy
    prompt_tokens, completion_tokens = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
    finish = answer.finish_reason if answer else "missing"
    return {
        "month": row["month"],
        "customer_id": row["customer_id"],
        "decided_by": asked.client if accepted else POLICY,
        "model": asked.model,
        "prompt_hash": row["prompt_hash"],
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "cost_usd": cost_usd(prompt_tokens, completion_tokens, asked.prices),
        "finish_reason": finish if finish in FINISH_REASONS else "error",
        "fallback_reason": verdict.fallback,
        "repairs": list(verdict.repairs),
        "items": list(_lines(items, content, row)),
        "policy_items": list(_lines(by_policy, content, row)) if was_asked else None,
    }


def _lines(items: list[dict], content: dict, row: dict) -> Iterator[dict]:
    """List lines: what the answer chose, with date, probability and reason code from the candidate's own evidence."""
    evidence = {candidate["id"]: candidate for candidate in content["candidates"]}
    product = dict(zip(row["candidate_ids"], row["product_ids"], strict=True))
    others = dict(zip(row["candidate_ids"], row["alternate_ids"], strict=True))
    for rank, item in enumerate(items, start=1):
        candidate = evidence[item["id"]]
        yield {
            "rank": rank,
            "product_id": product[item["id"]],
            "quantity": item["quantity"],
            "cadence_days": item["cadence_days"],
            "next_due_date": date.fromisoformat(candidate["need_due"]),
            "probability": candidate["probability"],
            "reason_code": candidate["sources"][0],
            "reason": item["reason"],
            "need": candidate["need"],
            "need_probability": candidate["need_probability"],
            "alternates": [
                {"product_id": other, "probability": alternate["probability"]}
                for other, alternate in zip(others[item["id"]], candidate["alternates"], strict=True)
            ],
        }


def _summary(lake: Lake, month: str) -> dict[str, object]:
    """Figures of the month's decisions, by one query: few groups, which the driver adds up."""
    groups = (
        lake.read(LIST_DECISIONS, [month])
        .groupBy("fallback_reason", "repairs")
        .agg(
            F.count(F.lit(1)).alias("customers"),
            F.sum(F.size("items")).alias("lines"),
            F.sum("prompt_tokens").alias("prompt_tokens"),
            F.sum("completion_tokens").alias("completion_tokens"),
            F.sum("cost_usd").alias("cost_usd"),
            F.count_if(F.size("items") == 0).alias("empty_lists"),
        )
        .collect()
    )
    totals = {
        name: sum(group[name] for group in groups)
        for name in ("lines", "prompt_tokens", "completion_tokens", "cost_usd", "empty_lists")
    }
    fallbacks: Counter[str] = Counter()
    repairs: Counter[str] = Counter()
    for group in groups:
        if group.fallback_reason is not None:
            fallbacks[group.fallback_reason] += group.customers
        for repair in group.repairs:
            repairs[repair] += group.customers
    customers = sum(group.customers for group in groups)
    return {
        **totals,
        "cost_usd_per_thousand_customers": round(1000 * totals["cost_usd"] / max(customers, 1), 4),
        "fallbacks": dict(fallbacks),
        "repairs": dict(repairs),
    }


if __name__ == "__main__":
    run_job(run, __doc__, dry_run=estimate)
