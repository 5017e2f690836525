"""What a job tells the Dagster that launched it on a cluster: its reports, its loggers' lines, and why it failed.

A job started by hand tells nobody. One that Dagster launched through Pipes finds in its environment where messages go:
a bucket on a cluster, a file on this machine. ``dagster_pipes`` is the small package that Dagster made for this side:
it imports nothing of Dagster, and is imported only where there is somebody to tell.

Not here: the launching (``assets/emr.py``).
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic_core import to_jsonable_python

from jobs.report import JobReport
from warehouse.errors import ReplenishError, TransientError
from warehouse.object_store import region

if TYPE_CHECKING:
    from dagster_pipes import PipesContext, PipesMessageWriter

CONTEXT_VARIABLE = "DAGSTER_PIPES_CONTEXT"
"""Set in the environment of a process that Dagster launched through Pipes."""

Tell = Callable[[JobReport], None]


@contextmanager
def telling_dagster() -> Iterator[Tell]:
    """What to call with each report. An error of ours that leaves the ``with`` is told too, and goes on its way."""
    if CONTEXT_VARIABLE not in os.environ:
        yield lambda report: None
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes(message_writer=_message_writer()) as pipes, _logging_to(pipes):
        try:
            yield lambda report: pipes.report_custom_message({"report": to_jsonable_python(asdict(report))})
        except ReplenishError as error:
            told = {"error": str(error), "is_transient": isinstance(error, TransientError)}
            pipes.report_custom_message(told)
            raise


def _message_writer() -> "PipesMessageWriter":
    from dagster_pipes import PipesDefaultMessageWriter, PipesEnvVarParamsLoader, PipesS3MessageWriter

    if "bucket" not in PipesEnvVarParamsLoader().load_messages_params():
        return PipesDefaultMessageWriter()
    import boto3

    return PipesS3MessageWriter(boto3.client("s3", region_name=region(None)), interval=2)


@contextmanager
def _logging_to(pipes: "PipesContext") -> Iterator[None]:
    """The lines of our own loggers, but no library's, go to Dagster's log of the run."""
    loggers = [logging.getLogger(layer) for layer in ("jobs", "transforms", "warehouse")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        for handler in pipes.log.handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            for handler in pipes.log.handlers:
                logger.removeHandler(handler)
