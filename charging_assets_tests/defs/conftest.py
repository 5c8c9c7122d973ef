"""The graph on a lake of its own, and instances that are thrown away."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from charging_assets.definitions import build_definitions
from charging_assets.defs.resources import ChargecloudResource, LakeResource


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
