"""Brings the jars that Spark does not carry into the home's cache, once, with the Ivy that it does carry.

Delta's are always needed, Hadoop's S3A with its part of the AWS SDK only where Spark reads or writes S3. Ivy's own
default resolver is asked, so no address stands here; a team behind a mirror names its Ivy settings file in
``REPLENISH_IVY_SETTINGS``. Dependencies are named one by one, not followed: the SDK as Hadoop asks for it is 642 MB.
Jars that lie in pyspark's own folder (an image may bake them in) are used from there.

Not here: which jars those are (``jar_list.py``), and anything that happens at import.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies
from xml.sax.saxutils import quoteattr

from warehouse.errors import EnvironmentProblem
from warehouse.jar_list import S3A, Jar, delta
from warehouse.object_store import spark_needs_s3
from warehouse.settings import Settings

_TIMEOUT_S = 600


def delta_jar_names() -> list[str]:
    """File names of the jars that Delta needs beside those of Spark, for the installed versions."""
    return [jar.name for jar in delta()]


def installed_jars(cache: Path, wanted: Sequence[Jar] | None = None) -> list[Path]:
    """Those of the wanted jars (Delta's, if none are named) that are on this machine, in their order."""
    # Resolved, since the class-data archive holds for one spelling of the class path only.
    places = [(folder / "jars").resolve() for folder in (spark_home(), cache)]
    names = [jar.name for jar in (delta() if wanted is None else wanted)]
    found = [next((place / name for place in places if (place / name).is_file()), None) for name in names]
    return [jar for jar in found if jar]


def delta_jars(cache: Path, java_home: Path, ivy_settings: Path | None = None) -> list[Path]:
    """Paths of Delta's jars, fetched first if one is not there.

    Args:
        cache: the home's cache folder.
        java_home: Java that runs Ivy.
        ivy_settings: Ivy settings file to use in place of Ivy's defaults.

    Raises:
        EnvironmentProblem: a jar cannot be fetched; the text holds Ivy's last lines. A retry helps if the network
            was the cause.
    """
    return bring_jars(delta(), cache, java_home, ivy_settings)


def wanted_s3_jars(settings: Settings) -> tuple[Jar, ...]:
    """The jars that the settings' stores need beside Delta's: none where Spark reads and writes local folders."""
    return S3A if spark_needs_s3(settings) else ()


def s3_jars(settings: Settings, java_home: Path) -> list[Path]:
    """Paths of those of :func:`wanted_s3_jars` that are not among Spark's own, fetched first if one is not there.

    Raises:
        EnvironmentProblem: see :func:`delta_jars`.
    """
    jars = bring_jars(wanted_s3_jars(settings), settings.cache, java_home, settings.ivy_settings)
    own = (spark_home() / "jars").resolve()
    return [jar for jar in jars if jar.parent != own]


def bring_jars(wanted: Sequence[Jar], cache: Path, java_home: Path, ivy_settings: Path | None) -> list[Path]:
    """Paths of the wanted jars, in their order; those that are not on this machine are fetched in one run of Ivy.

    Raises:
        EnvironmentProblem: see :func:`delta_jars`.
    """
    have = {jar.name for jar in installed_jars(cache, wanted)}
    if missing := [jar for jar in wanted if jar.name not in have]:
        fetch(missing, cache / "jars", java_home, ivy_settings)
    return installed_jars(cache, wanted)


def spark_home() -> Path:
    """Folder of the installed pyspark package, which is a whole Spark.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    # Found, not imported: pyspark's import takes longer than all else that the callers do.
    package = find_spec("pyspark")
    if package is None or package.origin is None:
        raise EnvironmentProblem("the pyspark package is not installed: run 'make setup'")
    return Path(package.origin).parent


def fetch(jars: Sequence[Jar], folder: Path, java_home: Path, ivy_settings: Path | None) -> None:
    """Brings the jars, and nothing that they depend on, into the folder, in one run of Ivy.

    Raises:
        EnvironmentProblem: see :func:`delta_jars`. Those that could be fetched are in the folder then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as name:
        scratch = Path(name)
        command = _ivy_command(scratch, java_home, jars, ivy_settings)
        failed = _run(command)
        if "PKIX path" in failed and (options := _system_trust(scratch)):
            # Behind a proxy that signs with the company's own authority, which the system knows and this Java not.
            failed = _run([command[0], *options, *command[1:]])
        missing = [jar for jar in jars if not (scratch / jar.name).exists()]
        for jar in jars:
            if jar not in missing:
                (scratch / jar.name).replace(folder / jar.name)
    if missing:
        raise EnvironmentProblem(
            f"could not fetch {', '.join(map(str, missing))} into {folder}. Is the Maven repository reachable? "
            "A mirror can be named in REPLENISH_IVY_SETTINGS (an Ivy settings file), or the jar can be put into "
            f"that folder by hand. Ivy said:\n{failed}"
        )


def _run(command: list[str]) -> str:
    """Runs Ivy; returns its last words."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"(no answer within {_TIMEOUT_S} s)"
    lines = [line.strip() for line in (run.stdout + run.stderr).splitlines()]
    return "\n".join([line for line in lines if line.strip(":. ")][-8:])


def _ivy_command(scratch: Path, java_home: Path, jars: Sequence[Jar], settings: Path | None) -> list[str]:
    # Ivy also reads ~/.m2, where a POM without its jar stops it: give it a home of its own.
    command = [str(java_home / "bin" / "java"), f"-Duser.home={scratch}"]
    # Without these, a network that swallows packets holds the set-up for as long as the system's own time limits.
    command += ["-Dsun.net.client.defaultConnectTimeout=20000", "-Dsun.net.client.defaultReadTimeout=120000"]
    command += proxy_options(getproxies())
    command += ["-jar", str(_ivy_jar()), "-cache", f"{scratch}/ivy", "-ivy", str(_ivy_file(scratch, jars))]
    # A bundle is a jar too, for OSGi.
    command += ["-confs", "default", "-types", *sorted({"jar", "bundle", *(jar.kind for jar in jars)}), "-warn"]
    command += ["-retrieve", f"{scratch}/[artifact]-[revision].[ext]"]
    return [*command, "-settings", str(settings)] if settings else command


def _ivy_file(scratch: Path, jars: Sequence[Jar]) -> Path:
    """Writes what Ivy is to fetch, all in one run of its JVM."""
    file = scratch / "ivy.xml"
    file.write_text(
        '<ivy-module version="2.0"><info organisation="replenish" module="jars"/>'
        '<configurations><conf name="default"/></configurations>'
        f"<dependencies>{''.join(map(_dependency, jars))}</dependencies></ivy-module>"
    )
    return file


def _dependency(jar: Jar) -> str:
    coordinates = f"org={quoteattr(jar.group)} name={quoteattr(jar.artifact)} rev={quoteattr(jar.revision)}"
    name, kind = quoteattr(jar.artifact), quoteattr(jar.kind)
    # Said only of other files: a jar is found by its POM.
    artifact = "" if jar.kind == "jar" else f"<artifact name={name} type={kind} ext={kind}/>"
    return f'<dependency {coordinates} conf="default->default" transitive="false">{artifact}</dependency>'


def proxy_options(proxies: dict[str, str]) -> list[str]:
    """Java's options for the proxies that Python sees (``https_proxy`` and the like), which Java does not read."""
    options = []
    for scheme in ("http", "https"):
        proxy = urlsplit(proxies.get(scheme, ""))
        if proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 80}"]
    around = [host.strip() for host in proxies.get("no", "").split(",") if host.strip()]
    if options and around:
        options.append("-Dhttp.nonProxyHosts=" + "|".join(f"*{h}" if h.startswith(".") else h for h in around))
    return options


def _system_trust(folder: Path) -> list[str]:
    """Java's options for trusting what this machine's OpenSSL trusts (``SSL_CERT_FILE`` included)."""
    import ssl
    import warnings

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    entries = []
    for index, authority in enumerate(ssl.create_default_context().get_ca_certs(binary_form=True)):
        # Bundles hold a few old certificates that are not quite to the letter: without them, not without all.
        with warnings.catch_warnings(action="ignore"), suppress(ValueError):
            one = x509.load_der_x509_certificate(authority)
            entries.append(pkcs12.PKCS12Certificate(one, str(index).encode()))
    if not entries:
        return []
    # Java wants a password on a trust store; the content is public.
    store = pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(b"public"))
    path = folder / "trust.p12"
    path.write_bytes(store)
    return [
        f"-Djavax.net.ssl.trustStore={path}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
        "-Djavax.net.ssl.trustStorePassword=public",
    ]


def _ivy_jar() -> Path:
    jars = sorted((spark_home() / "jars").glob("ivy-*.jar"))
    if not jars:
        raise EnvironmentProblem("the pyspark package holds no ivy-*.jar: reinstall it with 'make setup'")
    return jars[-1]
