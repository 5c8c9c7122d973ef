"""What assets are given: the lake, and chargecloud. Values come from the settings; making one does no I/O."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from charging_assets.lake import Lake
from charging_assets.settings import Settings
from charging_assets.sources import ChargecloudSource, Source


class LakeResource(dg.ConfigurableResource["LakeResource"]):
    """Where raw answers and tables are kept."""

    uri: str = Field(description="Folder, or s3://bucket/prefix (CHARGING_ASSETS_LAKE).")
    home: str = Field(description="Local folder for spooled, staged and cached files (CHARGING_ASSETS_HOME).")

    def open(self) -> Lake:
        """The lake; nothing is touched yet."""
        return Lake(self.uri, Path(self.home))

    @classmethod
    def from_settings(cls, settings: Settings) -> "LakeResource":
        """The lake that the settings name."""
        return cls(uri=settings.lake, home=str(settings.home))


class ChargecloudResource(dg.ConfigurableResource["ChargecloudResource"]):
    """Who is polled.

    Address and contact are read when a poll starts and are no configuration of this resource: the address may hold a
    password, and Dagster shows configuration to everybody who opens the UI.
    """

    feeds: list[str] = Field(description="Feeds of one poll (CHARGING_ASSETS_FEEDS).")
    interval_s: int = Field(
        description="Seconds between two polls (CHARGING_ASSETS_INTERVAL_S): recorded with each, and its deadline."
    )

    def source(self) -> Source:
        """The source; nothing is asked yet."""
        settings = Settings.from_env()
        return ChargecloudSource(settings.chargecloud_url, tuple(self.feeds), settings.contact, settings.source)

    @classmethod
    def from_settings(cls, settings: Settings) -> "ChargecloudResource":
        """The feeds and the interval of the settings."""
        return cls(feeds=list(settings.feeds), interval_s=settings.interval_s)
