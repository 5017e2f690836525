"""What a month of LLM lists takes on SageMaker Batch Transform: shards, jobs, hours, dollars.

``python -m warehouse.llm.transform_plan --customers 10000000`` prints the plan and everything that it assumes. It is
arithmetic: nothing is asked of AWS, and its figures are worth what its inputs are worth. Not here: the jobs
themselves (``sagemaker_client.py``), whose settings have the same names.
"""

import argparse
from dataclasses import dataclass
from math import ceil

from warehouse.llm.contract import SHARD_RECORDS

START_MINUTES = 8.0
"""Assumed minutes from a job's creation to its first request: the instance comes up and the model is loaded."""


@dataclass(frozen=True)
class TransformPlan:
    """What the month takes.

    Attributes:
        shards, jobs: files, and transform jobs that read them.
        requests_per_second: over the whole time, starts of jobs included.
        busy_requests_per_second: while every job answers.
        hours: from the first job's creation to the last one's end.
        instance_hours: what is paid, starts of jobs included.
        usd: of the instances; not of S3.
        prompt_tokens, completion_tokens: of all requests, to compare with a service that is paid by the token.
    """

    shards: int
    jobs: int
    requests_per_second: float
    busy_requests_per_second: float
    hours: float
    instance_hours: float
    usd: float
    usd_per_thousand_customers: float
    prompt_tokens: int
    completion_tokens: int


def plan(
    customers: int,
    *,
    seconds_a_request: float,
    concurrent_transforms: int,
    instance_count: int,
    jobs_at_once: int,
    usd_per_instance_hour: float,
    prompt_tokens: float,
    completion_tokens: float,
    shard_records: int = SHARD_RECORDS,
    shards_a_job: int = 20,
    start_minutes: float = START_MINUTES,
) -> TransformPlan:
    """Plans one request for each customer, all of which succeed the first time.

    A shard goes to one instance, so that a job takes as long as its busiest instance. Jobs start in order, each as
    soon as one of ``jobs_at_once`` places is free.

    Args:
        customers: requests; at least 1.
        seconds_a_request: from request to answer, while ``concurrent_transforms`` of them share the instance.
        prompt_tokens, completion_tokens: mean of a request.

    Raises:
        ValueError: a number is not positive.
    """
    counts = (customers, concurrent_transforms, instance_count, jobs_at_once, shard_records, shards_a_job)
    amounts = (usd_per_instance_hour, prompt_tokens, completion_tokens, start_minutes)
    if min(seconds_a_request, *counts) <= 0 or min(amounts) < 0:
        raise ValueError("Customers, seconds and counts must be positive; dollars, tokens and minutes not negative.")
    shards = ceil(customers / shard_records)
    jobs = ceil(shards / shards_a_job)

    def job_hours(records: int) -> float:
        busiest = min(records, ceil(ceil(records / shard_records) / instance_count) * shard_records)
        return start_minutes / 60 + busiest * seconds_a_request / concurrent_transforms / 3600

    whole = job_hours(shard_records * shards_a_job)
    last = job_hours(customers - (jobs - 1) * shards_a_job * shard_records)
    rounds, over = divmod(jobs - 1, jobs_at_once)
    hours = max((rounds + bool(over)) * whole, rounds * whole + last)
    instance_hours = ((jobs - 1) * whole + last) * instance_count
    usd = instance_hours * usd_per_instance_hour
    return TransformPlan(
        shards=shards,
        jobs=jobs,
        requests_per_second=customers / hours / 3600,
        busy_requests_per_second=min(jobs, jobs_at_once) * instance_count * concurrent_transforms / seconds_a_request,
        hours=hours,
        instance_hours=instance_hours,
        usd=usd,
        usd_per_thousand_customers=1000 * usd / customers,
        prompt_tokens=round(customers * prompt_tokens),
        completion_tokens=round(customers * completion_tokens),
    )


# Option, type, default, and where the number comes from.
_MEASURE = "an example, not measured: time a shard on your instance and model"
_OPTIONS: tuple[tuple[str, type, float, str], ...] = (
    ("customers", int, 10_000_000, "your customers; each is one request"),
    ("seconds-a-request", float, 12.0, f"{_MEASURE} at the same --concurrent-transforms"),
    ("concurrent-transforms", int, 8, "the client's default; SageMaker allows 100 at 1 MB"),
    ("instance-count", int, 1, "the client's default"),
    ("jobs-at-once", int, 2, "the client's default; AWS grants a quota of instances for each account"),
    ("usd-per-instance-hour", float, 1.50, "an example, not a price: see AWS's price list for instance and region"),
    ("prompt-tokens", float, 1_500.0, "an example: a month's dry run counts yours"),
    ("completion-tokens", float, 400.0, "an example: gold/list_decisions holds yours"),
    ("shard-records", int, SHARD_RECORDS, "the platform's shard; a failed record costs its whole shard's output"),
    ("shards-a-job", int, 20, "the client's default"),
    ("start-minutes", float, START_MINUTES, f"{_MEASURE}; larger models load longer"),
)
_ASSUMED = (
    "Every request succeeds the first time: nothing is asked again.",
    "Instances are to be had when a job asks for them, and are paid from the job's creation to its end.",
    "SageMaker keeps an instance's places full over the whole job; requests take the same time on every instance.",
    "S3, data transfer, and a customer whose answer is found from before (not asked again) are left out.",
)


def describe(options: dict[str, float]) -> str:
    """The plan for ``options`` (arguments of :func:`plan`), and its assumptions with where they come from."""
    made = plan(**options)  # type: ignore[arg-type]
    lines = [
        f"{made.shards:,} shards, {made.jobs:,} transform jobs",
        f"{made.hours:,.1f} hours ({made.hours / 24:,.1f} days), {made.instance_hours:,.1f} instance hours",
        f"{made.requests_per_second:,.2f} requests a second; {made.busy_requests_per_second:,.2f} while all jobs run",
        f"{made.usd:,.2f} USD, {made.usd_per_thousand_customers:,.4f} USD per thousand customers",
        f"{made.prompt_tokens:,} prompt tokens, {made.completion_tokens:,} completion tokens",
    ]
    if made.hours > 24:
        within_a_day = ceil(options["jobs_at_once"] * made.hours / 24)
        lines.append(f"Within a day: about {within_a_day:,} jobs at once, for about the same dollars")
    lines += ["", "Taken as given:"]
    lines += [f"  --{name} {options[name.replace('-', '_')]:,}: {source}" for name, _, _, source in _OPTIONS]
    return "\n".join([*lines, "", "Assumed:", *(f"  {text}" for text in _ASSUMED)])


def main(arguments: list[str] | None = None) -> None:
    """Prints the plan."""
    parser = argparse.ArgumentParser(prog="python -m warehouse.llm.transform_plan", description=__doc__.split("\n")[0])
    for name, kind, default, source in _OPTIONS:
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"default {default:,}: {source}")
    options = vars(parser.parse_args(arguments))
    try:
        print(describe(options))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
