"""One Dagster-free program a step: read, transform, write.

Each module has ``run(lake, settings, months) -> JobReport`` and runs by hand
(``python -m jobs.NAME --month 2017-05``) or under spark-submit. What is computed stands in ``transforms``;
when it runs and after what stands in ``assets`` and ``orchestration``.
"""
