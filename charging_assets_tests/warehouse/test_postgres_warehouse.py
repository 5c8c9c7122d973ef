"""What only PostgreSQL has: users' own isolation levels, and locks that readers queue behind."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from charging_assets.warehouse.contract import published_tables
from charging_assets_tests.warehouse.harness import ServedHarness, with_schema
from charging_assets_tests.warehouse.test_contract import DATED, few, model_of, put


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_loads_at_once_replace_each_other_whatever_isolation_their_user_has(
    empty_postgres: ServedHarness, level: str
) -> None:
    served = with_schema(empty_postgres)
    served.execute(f"ALTER DATABASE {served.database} SET default_transaction_isolation = '{level}'")
    put(served, DATED, few(5))

    with ThreadPoolExecutor(6) as pool:
        loads = list(pool.map(lambda _: served.load(*DATED), range(6)))

    assert {load.rows for load in loads} == {5}
    assert served.count("status_connectors") == 5


def test_a_migration_that_waits_for_a_query_keeps_no_other_reader_waiting(empty_postgres: ServedHarness) -> None:
    older = model_of(published_tables(), but=("status_connectors", "status_class"))
    empty_postgres.new_warehouse(older).ensure_schema()
    put_off = "SET lock_timeout = '500ms'; SELECT count(*) FROM charging.status_connectors"

    with (
        empty_postgres.connected(empty_postgres.reader) as slow,
        slow.cursor() as cursor,
        ThreadPoolExecutor(1) as pool,
    ):
        cursor.execute("SELECT count(*) FROM charging.status_connectors")  # its transaction stays open
        migrating = pool.submit(empty_postgres.warehouse.ensure_schema)
        for _ in range(5):
            try:
                with empty_postgres.connected(empty_postgres.reader) as quick, quick.cursor() as other:
                    other.execute(put_off)
            except psycopg2.errors.LockNotAvailable:
                pytest.fail("a reader waited for more than half a second")
            assert not migrating.done()
        slow.rollback()
        steps = migrating.result(60)

    assert any("status_connectors.status_class" in step.what for step in steps)
    assert [step for step in empty_postgres.warehouse.plan() if step.is_change] == []
