"""What a job says of its work: the one value that goes to the command line, the logs and Dagster's metadata."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class JobReport:
    """The outcome of one job.

    ``rows`` maps each month (or, for tables without months, a name) to the rows written.
    ``details`` holds further figures, JSON-able, never customer data.
    """

    table: str
    rows: dict[str, int]
    details: dict[str, object] = field(default_factory=dict)

    @property
    def row_count(self) -> int:
        """Rows written in all."""
        return sum(self.rows.values())

    def line(self) -> str:
        """One line for a person."""
        months = ", ".join(f"{month}: {rows:,}" for month, rows in self.rows.items())
        details = "; ".join(f"{name}={value}" for name, value in self.details.items() if not isinstance(value, dict))
        return f"{self.table}: {self.row_count:,} rows ({months or 'nothing to do'}) {details}".rstrip()
