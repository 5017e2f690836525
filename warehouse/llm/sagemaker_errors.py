"""What AWS refuses and boto3 raises, as our errors, which name the setting to mend.

Here: error codes and exceptions, and what each of them means for the sagemaker client. Not here: what is done about
one that passes, such as to wait or to ask again (``sagemaker_run.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoRegionError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from warehouse.errors import LlmUnavailable, ReplenishError, SettingsError

if TYPE_CHECKING:
    from warehouse.llm.sagemaker_client import TransformParams

NOT_FOUND = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
"""What SageMaker says where a job is not there. Some codes are also those of ``TAKEN``, and of other things too, so
that only a second question (does the job exist?) tells them apart."""

TAKEN = frozenset({"ValidationException", "ResourceInUse", "ResourceInUseException", "ConflictException"})
"""What SageMaker says where a job's name is taken."""

UNREACHABLE = (HTTPClientError, AwsConnectionError, IncompleteReadError)
"""What botocore raises where AWS does not answer, or breaks off."""

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AllAccessDisabled"})
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_PERMISSIONS = (
    "sagemaker:CreateTransformJob, DescribeTransformJob and StopTransformJob, "
    "and s3:GetObject, PutObject and ListBucket on the staging URI"
)


def error_code(error: ClientError) -> str:
    """Code of what AWS refused; empty where it gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def named_errors(params: "TransformParams") -> Iterator[None]:
    """Turns what boto3 raises within the block into our errors, which name the setting to mend.

    Raises:
        LlmUnavailable: AWS did not answer or has no instances; a later run may succeed.
        SettingsError: model, bucket, region, permissions or credentials are wrong; no retry helps.
    """
    try:
        yield
    except ClientError as error:
        raise refusal(error, params) from error
    except NoRegionError as error:
        raise SettingsError("REPLENISH_LLM asks SageMaker, but no AWS region is set: set AWS_REGION.") from error
    except UNREACHABLE as error:
        raise LlmUnavailable(f"AWS cannot be reached: {error}") from error
    except BotoCoreError as error:
        # Mostly credentials that are missing or half there, and names that boto3 knows to be wrong.
        raise SettingsError(
            f"REPLENISH_LLM is 'sagemaker:{params.model_name}', which AWS cannot be asked: {error}"
        ) from error


def refusal(error: ClientError, params: "TransformParams") -> ReplenishError:
    """What a refusal means.

    Returns:
        LlmUnavailable where a later call may succeed, SettingsError where none will.
    """
    code, call = error_code(error), error.operation_name
    said = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
    model, staging = f"REPLENISH_LLM is 'sagemaker:{params.model_name}'", params.staging_uri
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return SettingsError(f"REPLENISH_LLM_STAGING_URI is {staging!r}: there is no such bucket.")
    if code in _DENIED:
        return SettingsError(f"{model}: {call} on {staging} was denied; the role in use needs {_PERMISSIONS}.")
    if code in _BAD_CREDENTIALS:
        return SettingsError(f"{model}: AWS does not accept the credentials in use ({code}).")
    if code in NOT_FOUND and "could not find model" in said.lower():
        return SettingsError(f"{model}: SageMaker has no model of that name in this region.")
    if code == "ResourceLimitExceeded":
        return LlmUnavailable(
            f"SageMaker starts no {params.instance_count} × {params.instance_type} for transform jobs: wait until "
            "others have ended, or raise the account's quota of them."
        )
    if status >= 500 or "Throttl" in code or code in {"SlowDown", "RequestLimitExceeded", "TooManyRequestsException"}:
        return LlmUnavailable(f"AWS did not do {call} ({code}).")
    return SettingsError(f"{model} with {staging}: AWS refuses {call} ({code}): {said}")
