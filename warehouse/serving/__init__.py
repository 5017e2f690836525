"""Serving: the versioned store of published lists, publishing into it, and the lookup API.

What belongs here: the store's protocol and its implementations, the publish steps, the HTTP API.
What does not: Spark, Dagster and Delta. Nothing in this package imports them, so that the API's process
stays small and starts fast; ``jobs/publish.py`` streams the rows out of the lake into :func:`publish.publish`.
"""
