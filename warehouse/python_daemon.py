"""Spark's Python daemon with what tasks import already loaded: ``python -m warehouse.python_daemon pyspark.worker``.

The daemon forks a worker for each task that runs Python, and lets idle ones go after a minute. LightGBM, pandas and
PyArrow take three seconds to import; workers forked from here have them. Spark starts it where the session says so
(``spark.python.daemon.module``). Nothing runs at import but imports.
"""

from contextlib import suppress

import pandas  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
from pyspark import daemon

# OSError: without an OpenMP library LightGBM cannot be loaded; jobs that need it say so.
with suppress(ImportError, OSError):
    import lightgbm  # noqa: F401

if __name__ == "__main__":
    daemon.manager()
