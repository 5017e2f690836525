"""Bodies that the API takes and gives, with the examples shown at ``/docs``.

Not here: the list itself (``lists.py``) and errors (``problems.py``).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from warehouse.serving.lists import CustomerList

MAX_BATCH = 1_000
_VERSION = "2017-08-3f9c1b2a77d0"
LIST_EXAMPLE = {
    "customer_id": "2375",
    "month": "2017-08",
    "version": _VERSION,
    "generated_at": "2017-09-02T03:00:00Z",
    "expires_at": "2017-10-15T00:00:00Z",
    "items": [
        {
            "rank": 1,
            "product_id": "1029743",
            "name": "Fluid milk, white only, private label, 1 gal",
            "quantity": 1,
            "cadence_days": 9,
            "next_due_date": "2017-09-04",
            "probability": 0.9127,
            "reason_code": "due",
            "reason": "Bought on 22 days, every 9 days on average; last on 2017-08-26.",
            "price_usd": 2.69,
            "need": "FLUID MILK WHITE ONLY",
            "need_probability": 0.9551,
            "alternates": [
                {
                    "product_id": "1106523",
                    "name": "Fluid milk, white only, private label, 1/2 gal",
                    "probability": 0.4218,
                    "price_usd": 1.59,
                }
            ],
        }
    ],
}


def _encodable(customer_id: str) -> str:
    """JSON can escape half a surrogate pair, which is no character and cannot be sent back."""
    try:
        customer_id.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no character") from None
    return customer_id


CustomerId = Annotated[str, StringConstraints(strict=True), AfterValidator(_encodable)]


class BatchRequest(BaseModel):
    """Customers to look up. An id that stands twice is answered once."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"customer_ids": ["2375", "no-such-id"]}})

    customer_ids: list[CustomerId] = Field(max_length=MAX_BATCH)


class BatchResponse(BaseModel):
    """Lists of one version, in the order asked for, and the ids that have none."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"version": _VERSION, "lists": [LIST_EXAMPLE], "missing": ["no-such-id"]}}
    )

    version: str
    lists: list[CustomerList]
    missing: list[str]


class VersionInfo(BaseModel):
    """The live version."""

    version: str = Field(examples=[_VERSION])
    month: str = Field(examples=["2017-08"])
    generated_at: AwareDatetime
    expires_at: AwareDatetime
    age_seconds: int = Field(description="seconds since it was built", examples=[3600])
    customers: int = Field(description="lists in it", examples=[2469])
    lines: int = Field(description="lines in all lists", examples=[31250])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """A version is live, open and not expired."""

    status: Literal["ready"] = "ready"
    version: str = Field(examples=[_VERSION])
    month: str = Field(examples=["2017-08"])
    expires_at: AwareDatetime
