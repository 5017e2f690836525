"""What Dagster loads (``workspace.yaml``). How it is put together stands in ``build.py``."""

import dagster as dg

from orchestration.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this environment."""
    return build_defs()
