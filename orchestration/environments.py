"""The resources of each environment. Which one is in force says ``REPLENISH_ENV``; the rest is settings."""

from typing import Any

from dagster_aws.s3 import S3Resource

from assets.resources import Platform
from warehouse.object_store import region, stores_on_s3
from warehouse.settings import Settings


def resources_for(settings: Settings, overrides: dict[str, str]) -> dict[str, Any]:
    """Resources by key.

    ``platform`` serves every asset. ``s3`` is there where a store is on S3; its credentials come from AWS's own chain
    and nothing connects before it is used.
    """
    resources: dict[str, Any] = {"platform": Platform(overrides=overrides)}
    if stores_on_s3(settings):
        resources["s3"] = S3Resource(endpoint_url=settings.s3_endpoint, region_name=region(settings.s3_endpoint))
    return resources
