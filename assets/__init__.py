"""The Dagster assets: thin. Each resolves its months, calls its job and says what came out.

Keys, dependencies, partitions, pools and backfill policies live here; what is computed, in ``jobs`` and
``transforms``; checks, in ``quality``; schedules and sensors, in ``orchestration``.
"""
