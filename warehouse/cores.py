"""How many cores this process may spread its work over.

Not here: Spark's own count, which its master says; for ``local[*]`` the JVM counts by affinity and limit as well.
"""

import os


def available_cores() -> int:
    """Cores that the process's affinity and its container's limit leave it; ``OMP_NUM_THREADS`` lowers the number."""
    from joblib import cpu_count

    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cpu_count(), int(limit)) if limit.isdigit() and int(limit) > 0 else cpu_count()
