"""What one published list is: its model, its JSON bytes, and the digest of a whole set of lists.

A store keeps for each customer the JSON of the items alone. What all lists of a version share (month, version,
dates) is kept once and put in front when a list is read, so that a version's name can be the digest of its
content, and lists are read from their source in one pass.
Not here: where the bytes are kept (``lmdb_file.py``), and the HTTP answers (``api.py``).
"""

import hashlib
import json.encoder
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from warehouse.errors import ContractError

MAX_KEY_BYTES = 511
"""Longest customer id in UTF-8: LMDB's limit, kept by every store so that all of them take the same lists."""

_MODULUS = 1 << 256
# In JSON every quote inside a string is escaped, so these bytes cannot occur but at the start of an item.
_ITEM_START = b'{"rank":'

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), AfterValidator(lambda value: round(value, 4))]


class Alternate(BaseModel):
    """Another product that answers the need of a line."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    product_id: str = Field(min_length=1)
    name: str
    probability: Probability = Field(description="probability of a purchase next month, to four places")
    price_usd: float | None = Field(ge=0, allow_inf_nan=False, description="unit price in USD, null where unknown")


class ListItem(BaseModel):
    """One line of a customer's list. Takes a mapping or any object with these attributes, such as a Spark row."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    rank: int = Field(ge=1, description="place on the list, 1 being the first")
    product_id: str = Field(min_length=1)
    name: str
    quantity: int = Field(ge=1, description="units a delivery")
    cadence_days: int = Field(ge=1, description="days between deliveries")
    next_due_date: date = Field(description="when the product will be needed")
    probability: Probability = Field(description="probability of a purchase next month, to four places")
    # Which codes exist is the table contract's matter; it is not imported here because it needs PyArrow.
    reason_code: str = Field(pattern=r"^[a-z][a-z_]*$", description="chief source of the line")
    reason: str = Field(description="one sentence that cites the evidence")
    price_usd: float | None = Field(ge=0, allow_inf_nan=False, description="unit price in USD, null where unknown")
    need: str = Field(description="what the line is for; a line answers one need")
    need_probability: Probability = Field(description="probability that any product of the need is bought")
    alternates: list[Alternate] = Field(description="other products the customer buys for the need, best first")


class CustomerList(BaseModel):
    """A customer's list as the API returns it."""

    customer_id: str
    month: str = Field(description="month whose end the list was decided at, YYYY-MM", examples=["2017-08"])
    version: str = Field(description="published version, also the ETag", examples=["2017-08-3f9c1b2a77d0"])
    generated_at: AwareDatetime = Field(description="when the version was built, UTC")
    expires_at: AwareDatetime = Field(description="when the list stops being valid, UTC")
    items: list[ListItem]


_ITEMS = TypeAdapter(list[ListItem])
_ONE_LIST = TypeAdapter(CustomerList)


def encode_items(items: Iterable[Any]) -> bytes:
    """JSON bytes of a list's items, in the API's field order.

    Args:
        items: mappings or objects with the fields of :class:`ListItem`, best first; may be empty.

    Raises:
        ContractError: a field is missing or out of range, ranks are not 1, 2, 3, …, or a product stands twice.
            The text holds no customer data; a retry does not help.
    """
    try:
        checked = _ITEMS.validate_python(list(items))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ContractError(f"a list cannot be published: items.{where}: {first['msg']}") from None
    if [item.rank for item in checked] != list(range(1, len(checked) + 1)):
        raise ContractError("a list cannot be published: its ranks are not 1, 2, 3, … in order")
    if len({item.product_id for item in checked}) != len(checked):
        raise ContractError("a list cannot be published: a product stands on it twice")
    return _ITEMS.dump_json(checked)


def whole_seconds_utc(moment: datetime) -> datetime:
    """The moment in UTC, cut to seconds.

    Raises:
        ContractError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ContractError("generated_at and expires_at take a time zone: use datetime.now(UTC)")
    return moment.astimezone(UTC).replace(microsecond=0)


def body_middle(month: str, version: str, generated_at: datetime, expires_at: datetime) -> bytes:
    """The bytes between a list's customer and its items, the same for every list of a version."""
    shared = to_json({"month": month, "version": version, "generated_at": generated_at, "expires_at": expires_at})
    return b"," + shared[1:-1] + b',"items":'


def compose_body(customer_id: str, middle: bytes, items: bytes) -> bytes:
    """The API's body of one list."""
    return b'{"customer_id":' + json.encoder.encode_basestring(customer_id).encode() + middle + items + b"}"


def check_body(body: bytes, customer_id: str, version: str) -> None:
    """Reads a body back as a client would.

    Raises:
        ContractError: it is not a list of this customer and version.
    """
    try:
        found = _ONE_LIST.validate_json(body)
    except ValidationError as error:
        raise ContractError(f"a stored list does not read back: {error.error_count()} fields are wrong") from None
    if found.customer_id != customer_id or found.version != version:
        raise ContractError("a stored list reads back as another customer's or another version's")


def customer_key(customer_id: str) -> bytes | None:
    """The id in UTF-8, or None for one that no store holds (to look one up is a miss and no error)."""
    try:
        key = customer_id.encode()
    except UnicodeEncodeError:
        return None
    return key if 0 < len(key) <= MAX_KEY_BYTES else None


def count_lines(items: bytes) -> int:
    """Number of lines of a list, from its JSON bytes."""
    return items.count(_ITEM_START)


class ContentDigest:
    """Digest and counts of a set of lists, whatever order they come in.

    The sum, modulo 2**256, of the SHA-256 of every (customer, items) pair: a source need not sort millions of
    lists, and a store that iterates in its own order computes the same figure.
    """

    def __init__(self) -> None:
        self.customers = 0
        self.lines = 0
        self._sum = 0

    def add(self, key: bytes, items: bytes) -> None:
        """Counts in one customer's list."""
        entry = hashlib.sha256(len(key).to_bytes(4, "big") + key + items).digest()
        self._sum = (self._sum + int.from_bytes(entry, "big")) % _MODULUS
        self.customers += 1
        self.lines += count_lines(items)

    def checksum(self) -> str:
        """Hexadecimal SHA-256 of the counts and the sum."""
        return hashlib.sha256(f"{self.customers}:{self.lines}:{self._sum:064x}".encode()).hexdigest()

    def version(self, month: str) -> str:
        """``<month>-<12 hex>``: the same lists of the same month give the same version, whenever they are built."""
        return f"{month}-{hashlib.sha256(f'{month}:{self.checksum()}'.encode()).hexdigest()[:12]}"
