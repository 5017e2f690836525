"""RFC 9457 problem documents: the one form in which the API says that something is wrong.

Types with a meaning of their own are URNs; the others are ``about:blank``, whose title is the HTTP status phrase.
"""

from http import HTTPStatus

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

UNKNOWN_CUSTOMER = "urn:replenish:problem:unknown-customer"
NOTHING_PUBLISHED = "urn:replenish:problem:nothing-published"
VERSION_EXPIRED = "urn:replenish:problem:version-expired"
STORE_UNAVAILABLE = "urn:replenish:problem:store-unavailable"
API_KEY = "urn:replenish:problem:api-key"
INVALID_REQUEST = "urn:replenish:problem:invalid-request"
BODY_TOO_LARGE = "urn:replenish:problem:body-too-large"

_TITLES = {
    UNKNOWN_CUSTOMER: "No list for this customer",
    NOTHING_PUBLISHED: "No version is published",
    VERSION_EXPIRED: "The live version has expired",
    STORE_UNAVAILABLE: "The serving store cannot be read",
    API_KEY: "API key missing or wrong",
    INVALID_REQUEST: "The request is not valid",
    BODY_TOO_LARGE: "The request body is too large",
}


class FieldProblem(BaseModel):
    """One field of a request that is wrong."""

    pointer: str = Field(description="JSON pointer into the request", examples=["/body/customer_ids"])
    detail: str


class Problem(BaseModel):
    """A problem document."""

    type: str = Field(examples=[UNKNOWN_CUSTOMER])
    title: str = Field(examples=[_TITLES[UNKNOWN_CUSTOMER]])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["The live version 2017-08-3f9c1b2a77d0 holds no list for this customer."])
    instance: str = Field(description="path of the request", examples=["/v1/customers/2375/subscribe-save"])
    errors: list[FieldProblem] | None = Field(None, description="fields that are wrong, for an invalid request")


class ProblemError(HTTPException):
    """Ends a request with a problem document. An HTTPException, so that FastAPI lets it through from anywhere."""

    def __init__(self, status: int, detail: str, kind: str = "about:blank", headers: dict[str, str] | None = None):
        super().__init__(status, detail, headers)
        self.kind = kind


def problem_body(
    status: int, detail: str, instance: str, kind: str = "about:blank", errors: list[FieldProblem] | None = None
) -> bytes:
    """JSON bytes of a problem document."""
    title = _TITLES.get(kind) or HTTPStatus(status).phrase
    document = Problem(type=kind, title=title, status=status, detail=detail, instance=instance, errors=errors)
    return to_json(document, exclude_none=True)
