"""Where an asset's job runs: in the run's own process, or on a cluster that Dagster launches it on."""

from collections.abc import Callable, Sequence

import dagster as dg

from assets.resources import Platform
from jobs.report import JobReport
from warehouse.lake import Lake
from warehouse.object_store_errors import explained
from warehouse.settings import Settings

Work = Callable[[Lake, Settings], JobReport]


def perform(context: dg.AssetExecutionContext, platform: Platform, work: Work, command: Sequence[str]) -> JobReport:
    """Does a job where ``REPLENISH_COMPUTE`` says, and logs its report.

    Args:
        context: the step.
        platform: settings and, where the job runs here, the lake.
        work: the job as a function.
        command: the same job as a program: see :func:`command_of`.
    """
    settings = platform.settings()
    if settings.compute == "local":
        with explained():
            report = work(platform.lake(), settings)
    else:
        # Not before it is needed: boto3 and dagster-aws take a second to import.
        from assets.emr import run_on_emr

        report = run_on_emr(context, settings, command)
    context.log.info(report.line())
    return report


def command_of(job: Callable[..., JobReport], *arguments: str) -> list[str]:
    """The program that runs a job's function: its module without ``jobs.``, and which part of it.

    A function ``run`` is the whole program; a function ``run_counts`` is its ``--part counts``.
    """
    part = job.__name__.removeprefix("run").removeprefix("_")
    program = job.__module__.removeprefix("jobs.")
    return [program, *arguments, *(["--part", part] if part else [])]
