"""Turns ``s3://`` into each client's settings: the one place that knows S3's address, region and credentials.

Four clients read and write S3: Spark (S3A), PyArrow, LanceDB (the object_store library, as delta-rs) and boto3. All
get the same address and region, path-style addresses where a server is named, and about the same patience; all verify
TLS. Credentials are AWS's usual chain, which no setting of ours holds: see :func:`handed_over`.

Not here: what a refusal of S3 means (``object_store_errors.py``), and paths on a disk (``files.py``).
"""

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from warehouse.settings import Settings

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

SCHEME = "s3://"

# boto3's names for what Java's, Rust's and C++'s chains find by themselves too, and renew before it expires.
_FOUND_BY_ALL = frozenset({"env", "assume-role-with-web-identity", "container-role", "iam-role"})
_DEFAULT_REGION = "us-east-1"

# Session credentials, static ones, then AWS's chain: environment, web identity, profile, container, instance. The
# first two are there for executors: Spark hands the driver's AWS_* variables on in Hadoop's settings, unlogged.
_S3A_CREDENTIALS = (
    "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider",
    "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
    "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
)


def is_s3(uri: str) -> bool:
    """Whether the URI points to S3."""
    return uri.startswith(SCHEME)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes at its ends) of an ``s3://`` URI."""
    bucket, _, prefix = uri.removeprefix(SCHEME).partition("/")
    return bucket, prefix.strip("/")


def stores_on_s3(settings: Settings) -> dict[str, str]:
    """Variable → URI of those of the lake, the landing folder and the vectors that are on S3."""
    uris = {
        "REPLENISH_LAKE_URI": settings.lake,
        "REPLENISH_LANDING_URI": settings.landing,
        "REPLENISH_VECTORS_URI": settings.vectors,
    }
    return {name: uri for name, uri in uris.items() if is_s3(uri)}


def spark_needs_s3(settings: Settings) -> bool:
    """Whether Spark reads or writes S3, and so needs the AWS jars."""
    return is_s3(settings.lake) or is_s3(settings.landing)


def region(endpoint: str | None) -> str | None:
    """Region of the environment or the AWS profile; a server of its own takes any, so there it has a default."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if named:
        return named
    import boto3

    return boto3.Session().region_name or (_DEFAULT_REGION if endpoint else None)


def handed_over() -> "ReadOnlyCredentials | None":
    """Credentials that only boto3 finds for sure: those of a profile, single sign-on, an assumed role or a process.

    They are handed to the other clients as they are when a client is opened, and not renewed. What all clients find
    by themselves (environment, web identity, container, instance) gives ``None``.
    """
    import boto3

    found = boto3.Session().get_credentials()
    return None if found is None or found.method in _FOUND_BY_ALL else found.get_frozen_credentials()


def s3a_options(settings: Settings) -> dict[str, str]:
    """Spark properties by which S3A reads ``s3://``; none of them is a secret."""
    endpoint = settings.s3_endpoint
    options = {
        # One spelling of a table's address everywhere: Delta's log table has it in its key.
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "fs.s3a.aws.credentials.provider": ",".join(_S3A_CREDENTIALS),
        # By default a server that is gone holds a call for minutes.
        "fs.s3a.connection.establish.timeout": "15s",  # the least that it takes
        "fs.s3a.attempts.maximum": "3",
        "fs.s3a.retry.limit": "4",
    }
    if name := region(endpoint):
        options["fs.s3a.endpoint.region"] = name
    if endpoint:
        options["fs.s3a.endpoint"] = endpoint
        options["fs.s3a.path.style.access"] = "true"
        options["fs.s3a.connection.ssl.enabled"] = str(endpoint.startswith("https://")).lower()
    return {f"spark.hadoop.{key}": value for key, value in options.items()}


def jvm_credentials() -> dict[str, str]:
    """Environment variables for a JVM that would not find the credentials in use; not logged, unlike properties."""
    found = handed_over()
    if found is None:
        return {}
    names = {"AWS_ACCESS_KEY_ID": found.access_key, "AWS_SECRET_ACCESS_KEY": found.secret_key}
    return names | ({"AWS_SESSION_TOKEN": found.token} if found.token else {})


def arrow_options(endpoint: str | None) -> dict[str, Any]:
    """Arguments of ``pyarrow.fs.S3FileSystem``."""
    # A small file is then one request, not the three of an upload in parts.
    options: dict[str, Any] = {"connect_timeout": 5, "region": region(endpoint), "allow_delayed_open": True}
    if endpoint:
        address = urlsplit(endpoint)
        options |= {"endpoint_override": address.netloc + address.path.rstrip("/"), "scheme": address.scheme}
    if found := handed_over():
        options |= {"access_key": found.access_key, "secret_key": found.secret_key, "session_token": found.token}
    return options


def object_store_options(endpoint: str | None) -> dict[str, str]:
    """Storage options of LanceDB, whose names are those of the object_store library."""
    options = {"connect_timeout": "5s", "client_max_retries": "4", "client_retry_timeout": "20"}
    if name := region(endpoint):
        options["aws_region"] = name
    if endpoint:
        options["aws_endpoint"] = endpoint
        options["aws_virtual_hosted_style_request"] = "false"
        options["allow_http"] = str(endpoint.startswith("http://")).lower()
    if found := handed_over():
        options |= {"aws_access_key_id": found.access_key, "aws_secret_access_key": found.secret_key}
        options |= {"aws_session_token": found.token} if found.token else {}
    return options


def open_client(endpoint: str | None) -> Any:
    """A boto3 client of S3; nothing is connected to yet.

    Raises:
        BotoCoreError: the AWS profile cannot be used.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=8,
        retries={"mode": "standard", "total_max_attempts": 2},
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    # A session of its own: boto3's default one keeps the credentials that it found first.
    return boto3.Session().client("s3", endpoint_url=endpoint, region_name=region(endpoint), config=config)
