"""The platform as a Dagster resource: settings, and the lake seen through the process's one Spark session."""

import dagster as dg
from pydantic import Field

from warehouse.lake import Lake, open_lake
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session


class Platform(dg.ConfigurableResource):
    """Settings from the environment, with ``overrides`` (setting name → value) on top, as tests use."""

    overrides: dict[str, str] = Field(default_factory=dict)

    def settings(self) -> Settings:
        """The settings; reads them anew, so that a change of environment is seen by the next run."""
        return load_settings(**self.overrides)

    def lake(self) -> Lake:
        """The lake; starts the process's Spark session where there is none."""
        settings = self.settings()
        return open_lake(start_session(settings), settings)
