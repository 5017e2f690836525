"""Asks S3 before work begins, and says in one line what is wrong where it refuses or does not answer.

The question is one small listing. It is asked once a process before a store's first use, and again when something
fails half-way: whether the store was the cause is then known, without reading other libraries' traces.

Not here: the settings of the clients (``object_store.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from warehouse.errors import AccessRefused, PermanentError, ReplenishError, SettingsError, StoreUnavailable
from warehouse.object_store import is_s3, open_client, split_uri, stores_on_s3
from warehouse.settings import Settings

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_UNKNOWN_KEY = frozenset(
    # The last is versitygw's.
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "XAdminUserNotFound"}
)
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem"})
_PROBE = "_conditional_write"
_ELSEWHERE = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301"}
)

_answered: set[tuple[str, str, str | None]] = set()
_keeps_commits: set[tuple[str, str]] = set()


def require_store(settings: Settings, variable: str) -> None:
    """Asks the store that the variable names whether it can be listed, once a process; local folders are not asked.

    Args:
        settings: the platform's settings.
        variable: ``REPLENISH_LAKE_URI``, ``REPLENISH_LANDING_URI`` or ``REPLENISH_VECTORS_URI``. A role that reads one
            of them need not be allowed to see the others.

    Raises:
        AccessRefused: there are no credentials, or they are wrong, expired or not allowed. A retry does not help.
        SettingsError: there is no such bucket. A retry does not help.
        StoreUnavailable: the server does not answer. A retry may help.
    """
    uri = stores_on_s3(settings).get(variable)
    if uri and (variable, uri, settings.s3_endpoint) not in _answered:
        ask(variable, uri, settings.s3_endpoint)
        _answered.add((variable, uri, settings.s3_endpoint))


@contextmanager
def explained() -> Iterator[None]:
    """Where something fails within the block because a store in use is gone or refuses, says that in its place.

    The stores in use are those that this process has asked before.

    Raises:
        AccessRefused, SettingsError, StoreUnavailable: see :func:`require_store`.
    """
    try:
        yield
    except PermanentError:
        raise
    except Exception:
        for asked in sorted(_answered, key=str):
            ask(*asked)
        raise


def ask(variable: str, uri: str, endpoint: str | None) -> None:
    """Lists one key below the URI, which ``variable`` names.

    Raises:
        AccessRefused, SettingsError, StoreUnavailable: see :func:`require_store`.
    """
    bucket, prefix = split_uri(uri)
    with asking(f"{variable} is {uri!r}", bucket, endpoint or "AWS"):
        open_client(endpoint).list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)


@contextmanager
def asking(told: str, bucket: str, where: str) -> Iterator[None]:
    """Turns boto3's errors within the block into ours.

    Args:
        told: how the text begins: what is set, for example ``REPLENISH_LAKE_URI is 's3://…'``.
        bucket: the bucket that is asked for.
        where: the server's address, or ``AWS``.

    Raises:
        AccessRefused, SettingsError, StoreUnavailable: see :func:`require_store`.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(error, told, bucket, where) from None
    except BotoCoreError as error:
        raise _trouble(error, told, where) from None


def require_kept_commits(settings: Settings) -> None:
    """Makes sure, once a process, that a server of one's own keeps to ``If-None-Match``, as AWS does.

    Delta's commits on S3 rest on it (``scala/ConditionalPutLogStore.scala``): a server that overlooks it would let two
    drivers overwrite each other. Leaves one empty object in the lake.

    Raises:
        SettingsError: the server overlooks it.
    """
    if not settings.s3_endpoint or not is_s3(settings.lake):
        return
    if (asked := (settings.lake, settings.s3_endpoint)) in _keeps_commits:
        return
    bucket, prefix = split_uri(settings.lake)
    key = f"{prefix}/{_PROBE}".lstrip("/")
    # Where the object is there from before, the first request is refused already.
    if not any(_is_refused(settings.s3_endpoint, bucket, key) for _ in range(2)):
        raise SettingsError(
            f"REPLENISH_LAKE_URI is {settings.lake!r}: {settings.s3_endpoint} does not support conditional writes "
            "(If-None-Match), so that drivers could lose each other's commits. Use a server that does"
        )
    _keeps_commits.add(asked)


def _is_refused(endpoint: str, bucket: str, key: str) -> bool:
    from botocore.exceptions import ClientError

    with asking(f"REPLENISH_LAKE_URI is 's3://{bucket}/…'", bucket, endpoint):
        try:
            open_client(endpoint).put_object(Bucket=bucket, Key=key, Body=b"", IfNoneMatch="*")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
                return True
            raise
    return False


def _refusal(error: Exception, told: str, bucket: str, where: str) -> ReplenishError:
    """What the answer of a server that refuses means."""
    response = getattr(error, "response", {})
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in {"NoSuchBucket", "404"}:
        return SettingsError(f"{told}: {where} has no bucket {bucket!r}. Create it, or mend the variable")
    if code in _EXPIRED:
        return AccessRefused(
            f"{told}: the session of the AWS credentials in use has expired ({code}). Get new ones: "
            "'aws sso login', or a new AWS_SESSION_TOKEN with its keys"
        )
    if code in _UNKNOWN_KEY:
        return AccessRefused(
            f"{told}: {where} does not accept the AWS credentials in use ({code}). Mend AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or the AWS profile"
        )
    if code == "RequestTimeTooSkewed":
        return AccessRefused(f"{told}: this machine's clock is wrong ({code}). Set it")
    if code in _DENIED or status == 403:
        return AccessRefused(
            f"{told}: the AWS credentials in use may not use it ({code}). The role needs s3:ListBucket on the bucket, "
            "and s3:GetObject, PutObject and DeleteObject on its objects"
        )
    if code in _ELSEWHERE:
        return SettingsError(f"{told}: the bucket is in another region. Set AWS_REGION to the bucket's")
    if status >= 500 or code == "SlowDown":
        return StoreUnavailable(f"{told}: {where} cannot answer now ({code or status}). Try again later")
    said = " ".join(str(response.get("Error", {}).get("Message", "")).split())[:200]
    return SettingsError(f"{told}: {where} refuses to answer ({code}): {said}")


def _trouble(error: Exception, told: str, where: str) -> ReplenishError:
    """What it means that no answer came, or that nothing could be asked."""
    from botocore import exceptions as aws

    said = " ".join(str(error).split())[:300]
    if isinstance(error, aws.NoCredentialsError):
        return AccessRefused(
            f"{told}: no AWS credentials were found. Give the process a role, set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or run 'aws configure' or 'aws sso login'"
        )
    if isinstance(error, aws.SSLError):
        return AccessRefused(f"{told}: the certificate of {where} is not trusted. Name its authority in AWS_CA_BUNDLE")
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return StoreUnavailable(
            f"{told}: {where} does not answer ({type(error).__name__}). Is the server running, and is "
            "REPLENISH_S3_ENDPOINT right?"
        )
    if isinstance(error, aws.ParamValidationError):
        return SettingsError(f"{told}: that is no name of a bucket. Mend the variable")
    # Profiles that are half there or unknown, single sign-on that has run out, a missing region.
    return AccessRefused(f"{told}: AWS cannot be asked: {said}. Mend the AWS profile, or run 'aws sso login'")
