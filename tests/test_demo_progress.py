"""A run's progress: what is heard of Dagster's events while it goes, and how it is shown."""

import io

import dagster as dg
import pytest

from orchestration.display import PlainLines, StepResult, is_plain, open_display
from orchestration.progress import ROW_COUNT, RunListener, check_steps


class Record:
    """A display that keeps what it was told, with the number of assets that had been computed by then."""

    def __init__(self, computed: list[str]) -> None:
        self.told: list[tuple] = []
        self._computed = computed

    def begin(self, name: str, is_check: bool = False) -> None:
        self.told.append(("begin", name, len(self._computed)))

    def end(self, result: StepResult) -> None:
        self.told.append(("end", result.name, result.rows, result.passed, result.is_check))


def tiny_definitions(computed: list[str], check_passes: bool = True) -> dg.Definitions:
    @dg.asset(key=["silver", "lines"], partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def lines() -> dg.MaterializeResult:
        computed.append("lines")
        return dg.MaterializeResult(metadata={ROW_COUNT: 1234})

    @dg.asset_check(asset=dg.AssetKey(["silver", "lines"]), name="lines_contract")
    def contract() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=check_passes)

    @dg.asset(key=["gold", "lists"], deps=[["silver", "lines"]])
    def lists() -> None:
        computed.append("lists")
        raise RuntimeError("out of ink")

    job = dg.define_asset_job("all", dg.AssetSelection.all())
    return dg.Definitions(assets=[lines, lists], asset_checks=[contract], jobs=[job], executor=dg.in_process_executor)


MONTHS = dg.StaticPartitionsDefinition(["2017-01", "2017-02"])


def heard(definitions: dg.Definitions, display: Record) -> bool:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    tags = {"dagster/asset_partition_range_start": "2017-01", "dagster/asset_partition_range_end": "2017-02"}
    run_id = "00000000-0000-4000-8000-000000000001"
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_event_listener(run_id, RunListener(display, check_steps(definitions)).hear)
        job = definitions.resolve_job_def("all")
        return job.execute_in_process(
            instance=instance, run_id=run_id, run_config=quiet, tags=tags, raise_on_error=False
        ).success


def test_steps_are_heard_while_the_run_goes_with_rows_checks_and_failures():
    computed: list[str] = []
    display = Record(computed)

    assert not heard(tiny_definitions(computed), display)

    assert display.told[:2] == [
        ("begin", "silver/lines", 0),  # before it was computed
        ("end", "silver/lines", 1234, True, False),  # once, though two months materialized
    ]
    assert ("begin", "gold/lists", 1) in display.told
    assert {told for told in display.told[2:] if told[0] == "end"} == {
        ("end", "check lines_contract", None, True, True),
        ("end", "gold/lists", None, False, False),
    }


def test_a_check_that_does_not_hold_is_told_as_not_passed():
    computed: list[str] = []
    display = Record(computed)
    heard(tiny_definitions(computed, check_passes=False), display)
    assert ("end", "check lines_contract", None, False, True) in display.told


def test_plain_lines_say_start_rows_seconds_and_how_far():
    stream = io.StringIO()
    display = PlainLines(4, stream)
    display.begin("gold/candidates")
    display.end(StepResult("gold/candidates", 31.06, 126476))
    display.begin("check candidates_contract", is_check=True)
    display.end(StepResult("check candidates_contract", 1.3, passed=False, is_check=True))
    lines = [text.split(maxsplit=1)[1] for text in stream.getvalue().splitlines()]
    assert lines == [
        "0/4    gold/candidates …",
        "1/4  ✓ gold/candidates: 126,476 rows, 31.1 s",
        "2/4  ✗ check candidates_contract: 1.3 s",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "plain"),
    [
        (Terminal(), {"TERM": "xterm-256color"}, False),
        (Terminal(), {"TERM": "dumb"}, True),
        (Terminal(), {}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, False),
        (io.StringIO(), {"TERM": "xterm"}, True),
    ],
)
def test_escape_codes_only_on_a_terminal_that_takes_them(stream: io.StringIO, environment: dict, plain: bool):
    assert is_plain(stream, environment) is plain


@pytest.mark.parametrize(("kind", "escapes"), [(io.StringIO, False), (Terminal, True)])
def test_the_display_suits_standard_output(kind: type, escapes: bool, monkeypatch: pytest.MonkeyPatch):
    stream = kind()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with open_display(2) as display:
        display.begin("gold/candidates")
        print("[told] beside it")
        display.end(StepResult("gold/candidates", 2.0, 7))
        display.begin("check candidates_contract", is_check=True)
        display.end(StepResult("check candidates_contract", 0.1, is_check=True))
    assert ("\x1b" in stream.getvalue()) is escapes
    assert "gold/candidates: 7 rows, 2.0 s" in stream.getvalue()
    assert "[told] beside it" in stream.getvalue()
