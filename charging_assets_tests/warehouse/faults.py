"""What a warehouse that is a server has to survive: the same cases for PostgreSQL and for Redshift.

Each counts the rows before and after: nothing lost, nothing doubled, and the load log agrees with what is there.
"""

import datetime as dt
import random
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from charging_assets.lake import Lake, LakeError
from charging_assets.warehouse import Failed, Load, WarehouseError, WarehouseUnavailable, differences, load, publish
from charging_assets_tests.lake.replacing import DAY, status_day
from charging_assets_tests.standins.pgproxy import Fault
from charging_assets_tests.warehouse.harness import ProxiedHarness
from charging_assets_tests.warehouse.loading import KILLED, TIMED_OUT, Life, Nursery

TABLE = "status_chargingpoints"
POLLS = 144
FAILPOINTS = (
    "warehouse.before_copy",
    "warehouse.after_delete",
    "warehouse.before_log",
    "warehouse.before_commit",
    "warehouse.after_commit",
)
_STATE = f"""
    SELECT count(*), min(status_cp), max(status_cp),
        (SELECT min(content_hash) FROM charging.load_log WHERE table_name = '{TABLE}' AND partition_key = '{DAY}'),
        (SELECT min(row_count) FROM charging.load_log WHERE table_name = '{TABLE}' AND partition_key = '{DAY}'),
        (SELECT count(*) FROM charging.load_log)
    FROM charging.{TABLE} WHERE query_date = '{DAY}'
"""  # one statement: what it sees is of one moment


@dataclass(frozen=True)
class Version:
    """A version of the partition in a lake of its own: every row, and how many there are, tells which one it is."""

    lake: Lake
    name: str
    rows: int
    content_hash: str


NOTHING = None
"""The version of a partition that was never loaded."""


def make_version(served: ProxiedHarness, name: str, points: int) -> Version:
    """A version with so many charging points, beside the others of the same warehouse."""
    lake = Lake(f"{served.lake.uri}-{name}", served.home)
    lake.write(TABLE, DAY, status_day(np.zeros((points, POLLS), np.int32), [name]))
    file = lake.file(TABLE, DAY)
    assert file is not None
    with file:
        return Version(lake, name, points * POLLS, file.content_hash)


def version_in(served: ProxiedHarness, *versions: Version) -> Version | None:
    """Which version the warehouse has; fails if it is a mix of them, or if the load log tells of another."""
    (found,) = served.query(_STATE)
    if found == (0, None, None, None, None, 0):
        return NOTHING
    rows, first, last, content_hash, logged_rows, _ = found
    for version in versions:
        if (rows, first, last) == (version.rows, version.name, version.name):
            assert (content_hash, logged_rows) == (version.content_hash, version.rows), "the load log tells of another"
            return version
    raise AssertionError(f"no version has {found}; there are {versions}")


COMMIT = "COMMIT$"
"""And not READ COMMITTED."""


class FaultCases:
    """The cases. Classes that inherit them give the fixture `served`."""

    lost_connections: ClassVar[int]
    """With so many connections lost a load gives up."""
    rounds: ClassVar[int] = 30
    """How often a loader is killed at a random moment."""
    longest_life_s: ClassVar[float]
    """In which it can load a few times."""

    @pytest.fixture
    def old(self, served: ProxiedHarness) -> Version:
        return make_version(served, "OLD", 7)

    @pytest.fixture
    def new(self, served: ProxiedHarness) -> Version:
        return make_version(served, "NEW", 5)

    # Killed

    @pytest.mark.parametrize("is_first", [False, True], ids=["replacing", "first load"])
    def test_a_loader_killed_at_any_step_leaves_the_old_or_the_new_rows(
        self, served: ProxiedHarness, old: Version, new: Version, is_first: bool
    ) -> None:
        with Nursery(served.recipe()) as nursery:
            for failpoint in FAILPOINTS:
                served.execute(f"DELETE FROM charging_store.{TABLE}")
                served.execute("DELETE FROM charging_store.load_log")
                if not is_first:
                    load(old.lake, served.warehouse, TABLE, DAY)
                assert version_in(served, old) is (NOTHING if is_first else old)

                assert nursery.live(life_of(served, new, failpoint=failpoint)) == [KILLED], failpoint

                before = NOTHING if is_first else old
                after = version_in(served, old, new)
                assert after is (new if failpoint == "warehouse.after_commit" else before), failpoint
                load(new.lake, served.warehouse, TABLE, DAY)
                assert version_in(served, old, new) is new

    def test_a_loader_killed_at_random_moments_leaves_whole_versions(self, served: ProxiedHarness) -> None:
        self._kill_at_random(served, self.rounds)

    @pytest.mark.soak
    @pytest.mark.timeout(3600)
    def test_hundreds_of_killed_loaders_leave_whole_versions(self, served: ProxiedHarness) -> None:
        self._kill_at_random(served, 20 * self.rounds)

    def _kill_at_random(self, served: ProxiedHarness, rounds: int) -> None:
        versions = make_version(served, "ODD", 61), make_version(served, "EVEN", 50)
        moments = random.Random(20241023)
        seen = []
        with Nursery(served.recipe()) as nursery:
            for number in range(rounds):
                first = versions[number % 2], versions[1 - number % 2]
                life = life_of(served, *first, times=None, seconds=moments.uniform(0.002, self.longest_life_s))
                assert nursery.live(life) == [TIMED_OUT]
                seen.append(version_in(served, *versions))
        assert set(seen) == set(versions)
        # A process loads its first version and lives on: many died while they replaced that, some after they had.
        kept = sum(version is versions[number % 2] for number, version in enumerate(seen))
        assert 0 < kept < rounds
        for version in versions:
            load(version.lake, served.warehouse, TABLE, DAY)
            assert version_in(served, *versions) is version

    # The connection

    def test_a_server_that_ends_the_session_is_asked_again(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        states = []

        def terminate() -> None:
            states.append(version_in(served, old))
            _end_sessions(served)

        for statement in ("INSERT INTO charging_store", COMMIT):
            served.proxy.faults.append(Fault(statement, terminate))

        load(new.lake, served.warehouse, TABLE, DAY)

        assert states == [old, old]
        assert version_in(served, old, new) is new

    def test_a_server_that_always_ends_the_session_costs_nothing_but_this_load(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.extend([Fault(COMMIT, lambda: _end_sessions(served))] * self.lost_connections)

        with pytest.raises(WarehouseUnavailable, match="charging-assets publish"):
            load(new.lake, served.warehouse, TABLE, DAY)

        assert not served.proxy.faults
        assert version_in(served, old) is old
        load(new.lake, served.warehouse, TABLE, DAY)
        assert version_in(served, new) is new

    def test_a_commit_that_was_done_though_its_reply_was_lost_is_not_done_again(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.statements.clear()
        served.proxy.faults.append(Fault(COMMIT, "lose after"))

        done = load(new.lake, served.warehouse, TABLE, DAY)

        assert _commits(served) == 1
        assert version_in(served, new) is new
        assert served.warehouse.load_log()[TABLE, DAY].load_id == done.load_id

    def test_a_commit_that_was_lost_on_its_way_is_done_again(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.statements.clear()
        served.proxy.faults.append(Fault(COMMIT, "lose before"))

        done = load(new.lake, served.warehouse, TABLE, DAY)

        assert _commits(served) == 2
        assert version_in(served, new) is new
        assert served.warehouse.load_log()[TABLE, DAY].load_id == done.load_id

    def test_asking_whether_a_commit_was_done_may_fail_too(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.extend([Fault(COMMIT, "lose after"), Fault("WHERE load_id", "lose before")])

        done = load(new.lake, served.warehouse, TABLE, DAY)

        assert not served.proxy.faults
        assert version_in(served, new) is new
        assert served.warehouse.load_log()[TABLE, DAY].load_id == done.load_id

    @pytest.mark.parametrize(
        ("statement", "how"),
        [
            ("COPY", "lose before"),
            ("DELETE FROM", "lose before"),
            ("DELETE FROM", "lose after"),
            ("INSERT INTO", "lose before"),
            ("INSERT INTO", "lose after"),
        ],
    )
    def test_a_connection_that_is_lost_earlier_is_made_again(
        self, served: ProxiedHarness, old: Version, new: Version, statement: str, how: str
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.append(Fault(statement, how))
        load(new.lake, served.warehouse, TABLE, DAY)
        assert not served.proxy.faults
        assert version_in(served, new) is new

    # What the server answers

    def test_a_serialization_error_is_tried_again(self, served: ProxiedHarness, old: Version, new: Version) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        for statement in ("DELETE FROM", COMMIT):
            served.proxy.faults.append(Fault(statement, "error:40001:could not serialize access (1023)"))
        load(new.lake, served.warehouse, TABLE, DAY)
        assert not served.proxy.faults
        assert version_in(served, new) is new

    @pytest.mark.parametrize(
        ("error", "advice"),
        [
            ("53100:could not extend file: No space left on device", "disk.*(full|free).*publish again"),
            ("57014:canceling statement due to statement timeout", "longer than 3600 s.*publish again"),
            ("42501:permission denied for table", "charging-assets migrate.*charging_loader"),
        ],
        ids=["disk full", "timeout", "no permission"],
    )
    @pytest.mark.parametrize("statement", ["COPY", "load_log"])
    def test_an_error_that_does_not_pass_is_told_at_once_with_what_to_do(
        self, served: ProxiedHarness, old: Version, new: Version, statement: str, error: str, advice: str
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.append(Fault(statement, f"error:{error}"))
        with pytest.raises(WarehouseError, match=f"{TABLE} {DAY} .*{advice}"):
            load(new.lake, served.warehouse, TABLE, DAY)
        assert version_in(served, old) is old

    def test_a_text_with_a_nul_character_is_refused_and_changes_nothing(
        self, served: ProxiedHarness, old: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.write(TABLE, DAY, status_day(np.zeros((5, POLLS), np.int32), ["CHARG\0ING"]))
        with pytest.raises(WarehouseError, match=f"{TABLE} {DAY} .*NUL"):
            served.load(TABLE, DAY)
        assert version_in(served, old) is old

    def test_a_serialization_error_that_does_not_pass_is_told_in_the_end(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.extend([Fault("DELETE FROM", "error:40001:could not serialize access (1023)")] * 9)
        with pytest.raises(WarehouseError, match=f"{TABLE} {DAY} .*publish again"):
            load(new.lake, served.warehouse, TABLE, DAY)
        served.proxy.faults.clear()
        assert version_in(served, old) is old

    # The lake's side

    def test_a_file_that_is_damaged_within_is_told_and_changes_nothing(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        served.write(TABLE, DAY, old.lake.read(TABLE, DAY))
        load(old.lake, served.warehouse, TABLE, DAY)
        whole = served.read_bytes(TABLE, DAY)
        footer = int.from_bytes(whole[-8:-4], "little") + 8
        served.write_bytes(TABLE, DAY, whole[:4] + bytes(len(whole) - footer - 4) + whole[-footer:])
        wanted = differences(served.lake, served.warehouse)
        assert len(wanted) == 1

        (failed,) = publish(served.lake, served.warehouse, wanted)

        assert isinstance(failed, Failed)
        assert isinstance(failed.error, LakeError | WarehouseError)
        assert version_in(served, old) is old

    def test_a_file_that_is_replaced_while_it_is_loaded_leaves_one_version(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        served.write(TABLE, DAY, new.lake.read(TABLE, DAY))
        newest = make_version(served, "NEWEST", 4)
        rows = newest.lake.read(TABLE, DAY)
        served.proxy.faults.append(Fault("COPY", lambda: served.write(TABLE, DAY, rows)))
        try:
            served.load(TABLE, DAY)
        except (LakeError, WarehouseError):
            assert version_in(served, old) is old
        else:
            assert version_in(served, new, newest) in (new, newest)
        served.load(TABLE, DAY)
        assert version_in(served, newest) is newest

    # Many at once

    @pytest.mark.parametrize("is_first", [False, True], ids=["replacing", "first load"])
    def test_a_load_that_begins_before_another_has_committed_replaces_its_rows(
        self, served: ProxiedHarness, old: Version, new: Version, is_first: bool
    ) -> None:
        newest = make_version(served, "NEWEST", 4)
        if not is_first:
            load(old.lake, served.warehouse, TABLE, DAY)
        with ThreadPoolExecutor(1) as pool:
            others: list[Future[Load]] = []

            def begin_another() -> None:
                others.append(pool.submit(load, newest.lake, served.warehouse, TABLE, DAY))
                while not (_waiting(served) or wait(others, timeout=0.02).done):
                    pass

            served.proxy.faults.append(Fault(COMMIT, begin_another))
            load(new.lake, served.warehouse, TABLE, DAY)
            others[0].result()
        assert version_in(served, old, new, newest) is newest

    def test_eight_who_replace_the_same_partition_leave_one_of_their_versions(self, served: ProxiedHarness) -> None:
        versions = [make_version(served, f"V{number}", 3 + number) for number in range(4)]
        load(versions[0].lake, served.warehouse, TABLE, DAY)
        lives = [life_of(served, versions[turn % 4], versions[(turn + 1) % 4], times=2) for turn in range(8)]
        with Nursery(served.recipe()) as nursery:
            assert nursery.live(*lives) == [0] * 8
        assert version_in(served, *versions) in versions

    def test_eight_who_load_an_empty_partition_first_leave_one_of_their_versions(self, served: ProxiedHarness) -> None:
        versions = [make_version(served, f"V{number}", 3 + number) for number in range(4)]
        assert version_in(served) is NOTHING
        with Nursery(served.recipe()) as nursery:
            assert nursery.live(*(life_of(served, versions[turn % 4]) for turn in range(8))) == [0] * 8
        assert version_in(served, *versions) in versions

    def test_eight_who_replace_different_partitions_do_not_harm_each_other(self, served: ProxiedHarness) -> None:
        days = [DAY + dt.timedelta(number) for number in range(8)]
        for number, date in enumerate(days):
            served.write(TABLE, date, _rows_of(date, 3 + number))
        keys = [date.isoformat() for date in days]
        lives = [
            Life(table=TABLE, lakes=[served.lake.uri], keys=keys[turn:] + keys[:turn], home=str(served.home), times=2)
            for turn in range(8)
        ]
        with Nursery(served.recipe()) as nursery:
            assert nursery.live(*lives) == [0] * 8
        found = served.query(f"SELECT query_date, count(*) FROM charging.{TABLE} GROUP BY query_date ORDER BY 1")
        assert found == [(date, (3 + number) * POLLS) for number, date in enumerate(days)]
        assert differences(served.lake, served.warehouse) == []

    # Readers

    def test_a_reader_in_a_long_transaction_does_not_hold_a_load_up(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        with served.connected(served.reader) as reader, reader.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            count = f"SELECT count(*) FROM charging.{TABLE}"
            cursor.execute(count)
            assert cursor.fetchall() == [(old.rows,)]

            load(new.lake, served.warehouse, TABLE, DAY)

            cursor.execute(count)
            assert cursor.fetchall() == [(old.rows,)]
            assert version_in(served, new) is new

    def test_a_reader_never_waits_for_a_load_and_sees_the_rows_of_before(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        seen = []

        def read() -> None:
            with served.impatient() as cursor:
                cursor.execute(f"SELECT count(*) FROM charging.{TABLE}")
                seen.extend(cursor.fetchall())
            seen.append((_waiting(served),))

        for statement in ("DELETE FROM", "load_log", COMMIT):
            served.proxy.faults.append(Fault(statement, read))

        load(new.lake, served.warehouse, TABLE, DAY)

        assert seen == [(old.rows,), (0,)] * 3
        assert version_in(served, new) is new

    def test_readers_beside_loads_count_one_version_and_never_wait_half_a_second(
        self, served: ProxiedHarness, old: Version, new: Version
    ) -> None:
        load(old.lake, served.warehouse, TABLE, DAY)
        counts = []
        with (
            Nursery(served.recipe()) as nursery,
            ThreadPoolExecutor(1) as pool,
            served.impatient() as cursor,
        ):
            loads = pool.submit(nursery.live, *[life_of(served, new, old, times=6)] * 2)
            while not loads.done():
                cursor.execute(f"SELECT count(*) FROM charging.{TABLE}")
                counts += cursor.fetchall()
        assert loads.result() == [0, 0]
        assert set(counts) == {(old.rows,), (new.rows,)}


def _rows_of(date: dt.date, points: int) -> pa.Table:
    """Rows of another date than `DAY`."""
    rows = status_day(np.zeros((points, POLLS), np.int32), [f"OF {date}"])
    at = rows.schema.get_field_index("query_date")
    return rows.set_column(at, rows.schema.field(at), pa.repeat(pa.scalar(date), rows.num_rows))


def life_of(
    served: ProxiedHarness,
    *versions: Version,
    times: int | None = 1,
    failpoint: str = "",
    seconds: float | None = None,
    file_bytes: int | None = None,
) -> Life:
    """A process that loads these versions in turn."""
    return Life(
        table=TABLE,
        lakes=[version.lake.uri for version in versions],
        keys=[DAY.isoformat()],
        home=str(served.home),
        times=times,
        failpoint=failpoint,
        seconds=seconds,
        file_bytes=file_bytes,
    )


def _commits(served: ProxiedHarness) -> int:
    return sum(sql.strip().upper().startswith("COMMIT") for sql in served.proxy.statements)


def _waiting(served: ProxiedHarness) -> int:
    """How many wait for a lock."""
    return int(served.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0])


def _end_sessions(served: ProxiedHarness) -> None:
    """End all sessions of the database but that which does it."""
    served.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{served.database}' AND pid <> pg_backend_pid()"
    )
