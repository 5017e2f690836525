"""Judges tables against their contracts, with Great Expectations.

``suites`` renders a suite from a contract and runs it; ``expectations`` holds the one expectation that Great
Expectations lacks; ``checks`` makes Dagster asset checks of them. Not here: rows refused on the way in
(``jobs.ingest``, ``transforms.cleaning``) and the constraints that Delta enforces on every write
(``warehouse.contracts.table``).
"""
