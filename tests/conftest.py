"""Fixtures that every test may use: settings on an empty home, and the one Spark session of the test process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving_places import DynamoDbPlace, LmdbPlace, Place, dynamodb_server
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

_SHARED_CACHE = Path(os.environ.get("REPLENISH_HOME", Path(__file__).parents[1] / ".replenish")) / "cache"

# The longest module starts first, so that it doesn't run on alone at the end of two test processes.
_FIRST = "test_end_to_end.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Spark or DynamoDB Local, and put the longest module first."""
    for item in items:
        if "spark" in item.fixturenames:
            item.add_marker("spark")
        if _starts_dynamodb(item):
            item.add_marker("process")
    items.sort(key=lambda item: item.path.name != _FIRST)


def _starts_dynamodb(item: pytest.Item) -> bool:
    """Whether the test takes a place for lists that is not one of LMDB by its parameters."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return "place_of" in item.fixturenames and "lmdb" not in parameters


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose cache is the machine's, so that the Delta jars are fetched once and not once a test run.

    The heap is small because `make test` runs two sessions side by side.
    """
    home = tmp_path_factory.mktemp("spark-home")
    _SHARED_CACHE.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(_SHARED_CACHE.absolute())
    return load_settings(home=home, spark_master="local[2]", spark_driver_memory="1536m")


@pytest.fixture(scope="session")
def spark(spark_settings: Settings):
    """The Spark session of this test process."""
    session = start_session(spark_settings, app_name="replenish-tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def dynamodb_endpoint(spark_settings: Settings) -> Iterator[str]:
    """Address of the one DynamoDB Local of this test process. It listens on every address while the tests run."""
    with dynamodb_server(spark_settings) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def place_of(request: pytest.FixtureRequest) -> Callable[[str, Path], Place]:
    """Makes an empty serving store of a kind; starts DynamoDB Local for the first of its."""

    def make(kind: str, folder: Path) -> Place:
        if kind == "lmdb":
            return LmdbPlace(folder)
        return DynamoDbPlace(request.getfixturevalue("dynamodb_endpoint"))

    return make


@pytest.fixture
def dynamodb(place_of: Callable[[str, Path], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DynamoDbPlace:
    """An empty table of this test's own."""
    place = place_of("dynamodb", tmp_path)
    place.apply(monkeypatch)
    return place


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings on an empty home of this test's own, in the demo's time zone."""
    return load_settings(home=tmp_path / "home", business_tz="America/New_York")
