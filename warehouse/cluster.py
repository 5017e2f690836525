"""What a cluster's executors get from the driver: this repository's packages, as one zip.

``python -m warehouse.cluster FILE.zip`` writes the zip for ``spark-submit --py-files``; a driver that this process
starts itself ships it on its own. Jars go with ``spark.jars``. What executors must bring: the same Python with the
packages of ``requirements.lock``, at the path in ``PYSPARK_PYTHON``.

Not here: the session and its settings (``spark.py``).
"""

import hashlib
import io
import socket
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from warehouse.errors import EnvironmentProblem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHIPPED = ("jobs", "transforms", "warehouse")
"""What tasks import. Dagster's side stays with the driver."""

_REPOSITORY = Path(__file__).resolve().parents[1]


def code_zip() -> bytes:
    """The packages that tasks import; the same code gives the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in SHIPPED:
            for file in sorted((_REPOSITORY / package).rglob("*.py")):
                entry = zipfile.ZipInfo(str(file.relative_to(_REPOSITORY)))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, file.read_bytes())
    return content.getvalue()


def ship_code(spark: "SparkSession", cache: Path) -> None:
    """Gives every executor the packages that tasks import."""
    content = code_zip()
    # Named by content: executors keep what they were sent under a name.
    file = cache / "code" / f"replenish-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".part")
        draft.write_bytes(content)
        draft.replace(file)
    paths = list(sys.path)
    spark.sparkContext.addPyFile(str(file))
    # It puts the zip on the driver's own path as well, which goes on importing the repository's files.
    sys.path[:] = paths


def require_master(master: str) -> None:
    """Makes sure that somebody listens at a ``spark://`` address; Spark itself would try for a minute.

    Raises:
        EnvironmentProblem: nobody does.
    """
    # A standby master may be named too: spark://a:7077,b:7077.
    addresses = [urlsplit(f"//{part}") for part in master.removeprefix("spark://").split(",")]
    for address in addresses:
        try:
            socket.create_connection((address.hostname or "", address.port or 7077), timeout=5).close()
            return
        except OSError:
            continue
    raise EnvironmentProblem(
        f"REPLENISH_SPARK_MASTER is {master!r}: nobody listens there. Start the cluster, or mend the variable"
    )


def main(argv: list[str]) -> int:
    """The command line; returns the exit status."""
    if len(argv) != 1 or not argv[0].endswith(".zip"):
        print("usage: python -m warehouse.cluster FILE.zip", file=sys.stderr)
        return 2
    Path(argv[0]).write_bytes(code_zip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
