"""Fixtures that every test may use: settings on an empty home, and the one Spark session of the test process."""

import os
from pathlib import Path

import pytest

from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

_SHARED_CACHE = Path(os.environ.get("REPLENISH_HOME", Path(__file__).parents[1] / ".replenish")) / "cache"


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose cache is the machine's, so that the Delta jars are fetched once and not once a test run."""
    home = tmp_path_factory.mktemp("spark-home")
    _SHARED_CACHE.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(_SHARED_CACHE.absolute())
    return load_settings(home=home, spark_master="local[2]")


@pytest.fixture(scope="session")
def spark(spark_settings: Settings):
    """The Spark session of this test process."""
    session = start_session(spark_settings, app_name="replenish-tests")
    yield session
    session.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings on an empty home of this test's own, in the demo's time zone."""
    return load_settings(home=tmp_path / "home", business_tz="America/New_York")
