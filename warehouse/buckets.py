"""Makes the buckets that the settings name, where they are missing: ``python -m warehouse.buckets``.

For an S3 server of one's own (``docker-compose.yaml``). On AWS ``deploy/aws/data.yaml`` makes them, encrypted, private
and with a lifecycle; a bucket made here would have none of that.
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from warehouse.errors import ReplenishError, SettingsError, StoreUnavailable
from warehouse.settings import Settings, load_settings


def make_buckets(settings: Settings) -> list[str]:
    """Makes those that are missing; returns their names.

    Raises:
        SettingsError: no S3 server is named.
        StoreUnavailable: it does not answer, or refuses.
    """
    if not settings.s3_endpoint:
        raise SettingsError("REPLENISH_S3_ENDPOINT is not set: on AWS deploy/aws/data.yaml makes the buckets")
    uris = (settings.landing, settings.lake, settings.vectors, settings.llm_staging_uri or "")
    wanted = sorted({uri.removeprefix("s3://").partition("/")[0] for uri in uris if uri.startswith("s3://")})
    patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("s3", endpoint_url=settings.s3_endpoint, config=patience)
        have = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        missing = [name for name in wanted if name not in have]
        for name in missing:
            client.create_bucket(Bucket=name)
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailable(f"the S3 server at {settings.s3_endpoint} cannot be used: {error}") from error
    return missing


def main() -> int:
    """The command line; returns the exit status."""
    try:
        for name in make_buckets(load_settings()):
            print(f"made the bucket {name}")
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
