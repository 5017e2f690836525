"""Hears a run's events as Dagster stores them, and tells a display of each step's start, rows and seconds.

Not here: how that is shown (``display.py``).
"""

from collections.abc import Mapping

import dagster as dg
from dagster import DagsterEventType

from orchestration.display import Display, StepResult

ROW_COUNT = "dagster/partition_row_count"


def check_steps(definitions: dg.Definitions) -> dict[str, str]:
    """Step key → what a person is told, of the steps that only judge a table."""
    return {
        check.node_def.name: f"check {', '.join(key.name for key in check.check_keys)}"
        for check in definitions.asset_checks or ()
        if isinstance(check, dg.AssetChecksDefinition)
    }


class RunListener:
    """Turns the events of one run into :class:`StepResult`. Give :meth:`hear` to the instance as event listener."""

    def __init__(self, display: Display, checks: Mapping[str, str]) -> None:
        self._display, self._checks = display, checks
        self._started: dict[str, float] = {}
        self._rows: dict[str, dict[str, int]] = {}
        self._judged_bad: set[str] = set()

    def hear(self, entry: dg.EventLogEntry) -> None:
        """Takes one entry of the event log; those that are no news of a step are passed over."""
        event, step = entry.dagster_event, entry.step_key
        if event is None or step is None:
            return
        kind = event.event_type
        if kind == DagsterEventType.STEP_START:
            self._started[step] = entry.timestamp
            self._display.begin(self._name(step), step in self._checks)
        elif kind == DagsterEventType.ASSET_MATERIALIZATION:
            self._add_rows(step, event.step_materialization_data.materialization)
        elif kind == DagsterEventType.ASSET_CHECK_EVALUATION and not event.asset_check_evaluation_data.passed:
            self._judged_bad.add(step)
        elif kind in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
            self._end(step, entry.timestamp, kind == DagsterEventType.STEP_SUCCESS)

    def _end(self, step: str, ended: float, passed: bool) -> None:
        # A step that fails before it starts has no start.
        seconds = ended - self._started.pop(step, ended)
        rows = self._rows.pop(step, None)
        written = sum(rows.values()) if rows else None
        passed = passed and step not in self._judged_bad
        self._display.end(StepResult(self._name(step), seconds, written, passed, step in self._checks))

    def _add_rows(self, step: str, materialization: dg.AssetMaterialization) -> None:
        value = materialization.metadata.get(ROW_COUNT)
        if value is not None and isinstance(value.value, int):
            # A run of several months tells the same figure, of all of them, once a month.
            self._rows.setdefault(step, {})[materialization.asset_key.to_user_string()] = value.value

    def _name(self, step: str) -> str:
        return self._checks.get(step) or step.replace("__", "/", 1)
