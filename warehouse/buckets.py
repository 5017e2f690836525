"""Makes the buckets that the settings name, where they are missing: ``python -m warehouse.buckets``.

For an S3 server of one's own (``docker-compose.yaml``). On AWS ``deploy/aws/data.yaml`` makes them, encrypted, private
and with a lifecycle; a bucket made here would have none of that.
"""

import sys

from warehouse.errors import ReplenishError, SettingsError
from warehouse.object_store import open_client, split_uri, stores_on_s3
from warehouse.object_store_errors import asking
from warehouse.settings import Settings, load_settings


def make_buckets(settings: Settings) -> list[str]:
    """Makes those that are missing; returns their names.

    Raises:
        SettingsError: no S3 server is named, or a bucket cannot have that name.
        AccessRefused: it does not accept the credentials, or does not let them make a bucket.
        StoreUnavailable: it does not answer.
    """
    endpoint = settings.s3_endpoint
    if not endpoint:
        raise SettingsError("REPLENISH_S3_ENDPOINT is not set: on AWS deploy/aws/data.yaml makes the buckets")
    uris = stores_on_s3(settings)
    if settings.llm_staging_uri:
        uris["REPLENISH_LLM_STAGING_URI"] = settings.llm_staging_uri
    wanted = {split_uri(uri)[0]: f"{variable} is {uri!r}" for variable, uri in uris.items()}
    with asking(f"REPLENISH_S3_ENDPOINT is {endpoint!r}", "", endpoint):
        client = open_client(endpoint)
        have = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    missing = sorted(wanted.keys() - have)
    for bucket in missing:
        with asking(wanted[bucket], bucket, endpoint):
            client.create_bucket(Bucket=bucket)
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
