"""What the commands have in common: the settings, the lake they name, and Dagster's folder."""

import errno
import os
from importlib import resources
from typing import TYPE_CHECKING

import click

from charging_assets.settings import Settings, SettingsError

if TYPE_CHECKING:
    from charging_assets.lake import Lake


def open_lake(settings: Settings) -> "Lake":
    """The lake of the settings."""
    from charging_assets.lake import Lake

    return Lake(settings.lake, settings.home)


def use_dagster_home(settings: Settings) -> None:
    """Have Dagster keep runs and events where the settings say, with the project's `dagster.yaml` unless there is one.

    Raises:
        SettingsError: the folder cannot be made or written.
    """
    try:
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        if not os.access(settings.dagster_home, os.W_OK):
            raise PermissionError(errno.EACCES, "permission denied")
        own = settings.dagster_home / "dagster.yaml"
        if not own.exists():
            own.write_bytes(resources.files("charging_assets.defs").joinpath("dagster.yaml").read_bytes())
    except OSError as error:
        raise SettingsError(
            f"DAGSTER_HOME={str(settings.dagster_home)!r}: expected a folder that can be written, got: {error.strerror}"
        ) from error
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


@click.command("dagster-home", hidden=True)
def dagster_home() -> None:
    """Prepare Dagster's folder and print it, for `make dev`."""
    use_dagster_home(Settings.from_env())
    click.echo(os.environ["DAGSTER_HOME"])


def poi_rules(settings: Settings) -> str:
    """What the settings say of categories of points of interest, as a text that changes with it.

    Raises:
        OsmError: the file of categories cannot be used.
    """
    from charging_assets.sources.osm.categories import Categories

    return Categories.load(settings.poi_categories, settings.poi_radius_m).rules
