"""Whether LightGBM can be loaded on this machine: its wheel leaves the OpenMP library to the system.

Not here: what is learned with it (``transforms/ranking.py``).
"""

MEND = (
    "it needs the OpenMP library: apt install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora), "
    "brew install libomp (macOS)"
)


def lightgbm_problem() -> str | None:
    """What keeps LightGBM from loading; ``None`` where it loads."""
    try:
        import lightgbm  # noqa: F401
    except OSError as error:
        return f"LightGBM cannot be loaded ({error})"
    return None
