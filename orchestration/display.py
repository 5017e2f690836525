"""Shows how a series of runs goes: a progress display on a terminal, plain lines everywhere else.

Not here: where the news comes from (``progress.py``).
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text


@dataclass(frozen=True)
class StepResult:
    """A step that ended.

    ``rows`` are rows written, None for a step that writes none. ``is_check`` marks steps that only judge.
    """

    name: str
    seconds: float
    rows: int | None = None
    passed: bool = True
    is_check: bool = False

    def line(self) -> str:
        """``gold/candidates: 126,476 rows, 31.1 s``."""
        rows = "" if self.rows is None else f"{self.rows:,} rows, "
        return f"{self.name}: {rows}{self.seconds:.1f} s"


class Display(Protocol):
    """What is told of each step, in order. Prints of others may come between."""

    def begin(self, name: str, is_check: bool = False) -> None:
        """A step starts."""
        ...

    def end(self, result: StepResult) -> None:
        """A step ended, well or not."""
        ...


class PlainLines:
    """A line at a step's start and one at its end, for logs and simple terminals. Checks get one at their end."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total, self._done, self._stream = total, 0, stream

    def begin(self, name: str, is_check: bool = False) -> None:
        """Prints the time of day, how many of all steps are done, and the step; nothing for a check."""
        if not is_check:
            self._print(f"  {name} …")

    def end(self, result: StepResult) -> None:
        """Prints the rows, the seconds, and how many of all steps are done."""
        self._done += 1
        self._print(f"{'✓' if result.passed else '✗'} {result.line()}")

    def _print(self, text: str) -> None:
        done = f"{self._done}/{self._total}"
        print(f"  {time.strftime('%H:%M:%S')} {done:>8}  {text}", file=self._stream, flush=True)


class ProgressBar:
    """A bar for the whole, the running step with its seconds, and the steps done above it."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._progress = progress
        self._whole = progress.add_task("", total=total, step="")

    def begin(self, name: str, is_check: bool = False) -> None:
        """Shows the step beside the bar."""
        self._progress.update(self._whole, step=name)

    def end(self, result: StepResult) -> None:
        """Prints the step's line above the bar; a check that passed needs none."""
        self._progress.update(self._whole, advance=1, step="")
        if result.passed and result.is_check:
            return
        mark = ("  ✓ ", "green") if result.passed else ("  ✗ ", "red")
        self._progress.console.print(Text.assemble(mark, result.line()))


def is_plain(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream takes no escape codes: no terminal, a dumb one, or ``NO_COLOR`` is set."""
    return not stream.isatty() or environment.get("TERM", "") in ("", "dumb") or bool(environment.get("NO_COLOR"))


@contextmanager
def open_display(total: int) -> Iterator[Display]:
    """The display that suits standard output, for ``total`` steps."""
    if is_plain(sys.stdout, os.environ):
        yield PlainLines(total)
        return
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=24, complete_style="cyan"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}", markup=False),
    )
    with Progress(*columns, console=Console(highlight=False), transient=True, refresh_per_second=4) as progress:
        yield ProgressBar(total, progress)
