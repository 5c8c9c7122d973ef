"""The graph on a lake of its own, and instances that are thrown away."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from charging_assets.definitions import build_definitions
from charging_assets.defs.resources import ChargecloudResource, LakeResource
from charging_assets_tests.cheap_dagster import cheap_dagster


@pytest.fixture(scope="session", autouse=True)
def _dagster() -> Iterator[None]:
    with cheap_dagster():
        yield


@pytest.fixture
def graph(tmp_path: Path) -> dg.Definitions:
    """The definitions, on the lake of the fixture `lake`; feeds: koeln and bonn."""
    return build_definitions(
        {
            "lake": LakeResource(uri=str(tmp_path / "lake"), home=str(tmp_path / "home")),
            "chargecloud": ChargecloudResource(feeds=["koeln", "bonn"], interval_s=600),
        }
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def stored_instance(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    """Events in SQLite: by default a file per run, as a laptop has them; "one database" is like a server's."""
    (tmp_path / "dagster").mkdir()
    one = {
        "event_log_storage": {
            "module": "dagster._core.storage.event_log",
            "class": "ConsolidatedSqliteEventLogStorage",
            "config": {"base_dir": str(tmp_path / "dagster")},
        }
    }
    overrides = one if getattr(request, "param", None) == "one database" else {}
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=overrides) as stored:
        yield stored
