"""One-time preparation of a home: ``python -m warehouse.prepare`` fetches Delta's jars, makes the class-data archive.

``make setup`` runs it; it is quick when both are there. A cluster's Spark brings its own jars: nothing is done.
Not here: the check of what is there (``doctor.py``), and the data.
"""

import argparse
import sys
from collections.abc import Sequence

from warehouse.class_data import build_archive, class_data_archive
from warehouse.errors import ReplenishError
from warehouse.jars import delta_jar_names, delta_jars, installed_jars
from warehouse.java import find_java_home
from warehouse.settings import Settings, load_settings


def prepare(settings: Settings, archive: bool = True, again: bool = False) -> list[str]:
    """Brings what a local Spark needs into the home's cache.

    Args:
        settings: the platform's settings.
        archive: whether to make the class-data archive too.
        again: make the archive also where it is there or failed before.

    Returns:
        Lines that say what was done; none if everything was there.

    Raises:
        EnvironmentProblem: Java or a jar is missing.
    """
    if not settings.spark_master.startswith("local"):
        return []
    done = []
    settings.cache.mkdir(parents=True, exist_ok=True)
    java_home = find_java_home(settings.cache)
    if len(installed_jars(settings.cache)) < len(delta_jar_names()):
        jars = delta_jars(settings.cache, java_home, settings.ivy_settings)
        done.append(f"jars: fetched {', '.join(jar.name for jar in jars)}")
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
    parser.add_argument("--again", action="store_true", help="make the class-data archive anew")
    arguments = parser.parse_args(argv)
    try:
        for line in prepare(load_settings(), not arguments.no_archive, arguments.again):
            print(line)
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
