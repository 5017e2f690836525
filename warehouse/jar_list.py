"""Which jars the platform adds to Spark's own, each with its exact version.

Here: names and versions only. Not here: how they come to a machine (``jars.py``).
"""

from importlib.metadata import version
from typing import NamedTuple

SCALA = "2.13"
_SDK = "2.29.52"
"""The AWS SDK that Hadoop 3.4.2, the one in pyspark 4.1, was built with."""


class Jar(NamedTuple):
    """One jar, or another file of a Maven repository, by its coordinates."""

    group: str
    artifact: str
    revision: str
    kind: str = "jar"

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.artifact}-{self.revision}.{self.kind}"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.revision}"


def delta() -> tuple[Jar, ...]:
    """Delta's, for the installed versions of pyspark and delta-spark; its other needs are among Spark's jars."""
    spark = ".".join(version("pyspark").split(".")[:2])
    revision = version("delta-spark")
    return (
        Jar("io.delta", f"delta-spark_{spark}_{SCALA}", revision),
        Jar("io.delta", "delta-storage", revision),
    )


# Of the SDK what S3A touches: S3 by Apache's client, transfers, credentials of every kind (`sts`: web identity and
# assumed roles). Netty and Apache's client themselves are among Spark's jars.
_SDK_MODULES = (
    *("annotations", "apache-client", "arns", "auth", "aws-core", "aws-query-protocol", "aws-xml-protocol"),
    *("checksums", "checksums-spi", "crt-core", "endpoints-spi", "http-auth", "http-auth-aws"),
    *("http-auth-aws-eventstream", "http-auth-spi", "http-client-spi", "identity-spi", "json-utils", "metrics-spi"),
    *("netty-nio-client", "profiles", "protocol-core", "regions", "retries", "retries-spi", "s3"),
    *("s3-transfer-manager", "sdk-core", "sts", "third-party-jackson-core", "utils"),
)

S3A: tuple[Jar, ...] = (
    Jar("org.apache.hadoop", "hadoop-aws", "3.4.2"),
    *(Jar("software.amazon.awssdk", module, _SDK) for module in _SDK_MODULES),
    Jar("software.amazon.eventstream", "eventstream", "1.0.1"),
    Jar("org.reactivestreams", "reactive-streams", "1.0.4"),
)
"""Hadoop's S3A and the modules of the AWS SDK that it needs: 10 MB in all."""
