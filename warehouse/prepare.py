"""One-time preparation of a home: ``python -m warehouse.prepare`` fetches jars, makes the class-data archive.

``make setup`` runs it; it is quick when both are there. The AWS jars are fetched only where a setting puts the lake or
the landing files on S3, or with ``--s3``, for an image. A driver of spark-submit brings its own: nothing is done.
Not here: the check of what is there (``doctor.py``), and the data.
"""

import argparse
import sys
from collections.abc import Sequence

from warehouse.class_data import build_archive, class_data_archive
from warehouse.errors import ReplenishError
from warehouse.jar_list import S3A, delta
from warehouse.jars import bring_jars, installed_jars, wanted_s3_jars
from warehouse.java import find_java_home
from warehouse.log_store import log_store_jar
from warehouse.settings import Settings, load_settings
from warehouse.spark import SUBMIT


def prepare(settings: Settings, archive: bool = True, again: bool = False, s3: bool = False) -> list[str]:
    """Brings what a Spark driver needs into the home's cache.

    Args:
        settings: the platform's settings.
        archive: whether to make the class-data archive too.
        again: make the archive also where it is there or failed before.
        s3: fetch the AWS jars whatever the settings.

    Returns:
        Lines that say what was done; none if everything was there.

    Raises:
        EnvironmentProblem: Java or a jar is missing.
    """
    if settings.spark_master == SUBMIT:
        return []
    done = []
    settings.cache.mkdir(parents=True, exist_ok=True)
    java_home = find_java_home(settings.cache)
    others = S3A if s3 else wanted_s3_jars(settings)
    jars = (*delta(), *others)
    if lacking := len(jars) - len(installed_jars(settings.cache, jars)):
        bring_jars(jars, settings.cache, java_home, settings.ivy_settings)
        done.append(f"jars: fetched {lacking}")
    if others:
        log_store_jar(settings, java_home)
    wanted = class_data_archive(settings.cache, java_home)
    # A build that failed once would fail at every 'make setup', and nothing needs it.
    if archive and (again or not (wanted.is_usable or wanted.failure.exists())):
        print("class-data archive: making it, once (about half a minute)", file=sys.stderr, flush=True)
        done.append(build_archive(settings, again))
    return done


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-archive", action="store_true", help="fetch the jars only")
    parser.add_argument("--s3", action="store_true", help="fetch the AWS jars too, whatever the settings")
    parser.add_argument("--again", action="store_true", help="make the class-data archive anew")
    arguments = parser.parse_args(argv)
    try:
        for line in prepare(load_settings(), not arguments.no_archive, arguments.again, arguments.s3):
            print(line)
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
