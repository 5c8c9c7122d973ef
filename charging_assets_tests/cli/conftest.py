"""Commands that run jobs do so in Dagster's instance."""

from collections.abc import Iterator

import pytest

from charging_assets_tests.cheap_dagster import cheap_dagster


@pytest.fixture(scope="session", autouse=True)
def _dagster() -> Iterator[None]:
    with cheap_dagster():
        yield
