"""Brings Delta Lake's jars into the home's cache, once, with the Ivy that Spark carries.

Ivy's own default resolver is asked, so no address stands here; a team behind a mirror names its Ivy settings file
in ``REPLENISH_IVY_SETTINGS``. Only the two jars that Spark does not have are fetched, without their dependencies.
Jars that lie in pyspark's own folder (an image may bake them in) are used from there.

Not here: other connectors' jars, and anything that happens at import.
"""

import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from warehouse.errors import EnvironmentProblem

SCALA = "2.13"
_TIMEOUT_S = 600


def delta_jar_names() -> list[str]:
    """File names of the jars that Delta needs beside those of Spark, for the installed versions."""
    spark = ".".join(version("pyspark").split(".")[:2])
    delta = version("delta-spark")
    return [f"delta-spark_{spark}_{SCALA}-{delta}.jar", f"delta-storage-{delta}.jar"]


def installed_jars(cache: Path) -> list[Path]:
    """Those of Delta's jars that are on this machine, in the order of :func:`delta_jar_names`."""
    # Resolved, since the class-data archive holds for one spelling of the class path only.
    places = [(folder / "jars").resolve() for folder in (spark_home(), cache)]
    found = [next((place / name for place in places if (place / name).is_file()), None) for name in delta_jar_names()]
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
    have = {jar.name for jar in installed_jars(cache)}
    for name in delta_jar_names():
        if name not in have:
            _fetch(name, cache / "jars", java_home, ivy_settings)
    return installed_jars(cache)


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


def _fetch(name: str, folder: Path, java_home: Path, settings: Path | None) -> None:
    artifact, revision = name.removesuffix(".jar").rsplit("-", 1)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        command = _ivy_command(Path(scratch), java_home, artifact, revision, settings)
        failed = _run(command, Path(scratch) / name)
        if failed and "PKIX path" in failed and (options := _system_trust(Path(scratch))):
            # Behind a proxy that signs with the company's own authority, which the system knows and this Java not.
            failed = _run([command[0], *options, *command[1:]], Path(scratch) / name)
        if failed:
            raise EnvironmentProblem(
                f"could not fetch io.delta:{artifact}:{revision} into {folder}. Is the Maven repository reachable? "
                "A mirror can be named in REPLENISH_IVY_SETTINGS (an Ivy settings file), or the jar can be put into "
                f"that folder by hand. Ivy said:\n{failed}"
            )
        (Path(scratch) / name).replace(folder / name)


def _run(command: list[str], wanted: Path) -> str:
    """Runs Ivy; returns its last words if the file is not there afterwards, else an empty text."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"(no answer within {_TIMEOUT_S} s)"
    if run.returncode == 0 and wanted.exists():
        return ""
    lines = [line.strip() for line in (run.stdout + run.stderr).splitlines()]
    return "\n".join([line for line in lines if line.strip(":. ")][-8:])


def _ivy_command(scratch: Path, java_home: Path, artifact: str, revision: str, settings: Path | None) -> list[str]:
    # Ivy also reads ~/.m2, where a POM without its jar stops it: give it a home of its own.
    command = [str(java_home / "bin" / "java"), f"-Duser.home={scratch}"]
    # Without these, a network that swallows packets holds the set-up for as long as the system's own time limits.
    command += ["-Dsun.net.client.defaultConnectTimeout=20000", "-Dsun.net.client.defaultReadTimeout=120000"]
    command += proxy_options(getproxies())
    command += ["-jar", str(_ivy_jar()), "-cache", f"{scratch}/ivy", "-notransitive", "-confs", "default"]
    command += ["-types", "jar", "-warn", "-dependency", "io.delta", artifact, revision]
    command += ["-retrieve", f"{scratch}/[artifact]-[revision].[ext]"]
    return [*command, "-settings", str(settings)] if settings else command


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
