import datetime as dt
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest

from charging_assets.defs import sensors
from charging_assets.defs.resources import LakeResource
from charging_assets.defs.sensors import DATES_PER_TICK, build_sensors
from charging_assets.lake import Lake
from charging_assets.settings import Settings
from charging_assets_tests.chargecloud_answers import city
from charging_assets_tests.clock import set_clock
from charging_assets_tests.raw_days import make_raw_day, make_raw_poll
from charging_assets_tests.standins.smtp import SmtpStandin

RAW = dg.AssetKey("raw_snapshots")


@pytest.fixture
def instance(stored_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return stored_instance


class Sensor:
    """A sensor as the daemon runs it: tick after tick with its cursor, what it reports put into the event log."""

    def __init__(
        self, name: str, instance: dg.DagsterInstance, lake: Lake, settings: Mapping[str, str] | None = None
    ) -> None:
        self._sensor = {one.name: one for one in build_sensors(Settings.from_env(settings or {}))}[name]
        self._instance = instance
        self._lake = LakeResource(uri=lake.uri, home=str(Path(lake.uri).parent / "home"))
        self.cursor: str | None = None
        self.said = ""

    def tick(self) -> list[str | None]:
        """The partitions that one tick reports."""
        with dg.build_sensor_context(
            instance=self._instance, cursor=self.cursor, resources={"lake": self._lake}
        ) as context:
            done = self._sensor.evaluate_tick(context)
        for event in done.asset_events:
            self._instance.report_runless_asset_event(event)
        assert not done.run_requests  # building is the schedules' work
        self.cursor, self.said = done.cursor, str(done.skip_message)
        return [event.partition for event in done.asset_events]


# Raw files


@pytest.fixture
def raw_files(instance: dg.DagsterInstance, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    set_clock(monkeypatch, "2026-03-29T10:00:00+00:00")
    return Sensor("raw_files", instance, lake)


def test_raw_files_that_somebody_else_brought_become_materialized_partitions(
    raw_files: Sensor, lake: Lake, instance: dg.DagsterInstance
) -> None:
    for day in (20, 28, 29):
        make_raw_day(lake, dt.date(2026, 3, day), polls=2)

    assert raw_files.tick() == ["2026-03-29", "2026-03-28", "2026-03-20"]

    assert instance.get_materialized_partitions(RAW) == {"2026-03-20", "2026-03-28", "2026-03-29"}
    latest = instance.get_latest_materialization_event(RAW)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.metadata["polls"].value == 2
    assert latest.asset_materialization.tags is not None
    assert latest.asset_materialization.tags["dagster/data_version"] == lake.raw.fingerprint(dt.date(2026, 3, 20))
    assert raw_files.said == "3 of 3 days that were looked at had answers nobody had told of."
    assert raw_files.tick() == []


def test_more_answers_of_today_and_yesterday_are_noticed_and_each_older_day_is_read_once(
    raw_files: Sensor, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (20, 21, 28, 29):
        make_raw_day(lake, dt.date(2026, 3, day), polls=1)
    raw_files.tick()
    read: list[str] = []
    report = sensors.raw_report
    monkeypatch.setattr(sensors, "raw_report", lambda lake, key: read.append(key) or report(lake, key))

    make_raw_poll(lake, dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC), {"koeln": city(1)})
    make_raw_day(lake, dt.date(2026, 3, 22), polls=1)

    assert raw_files.tick() == ["2026-03-28", "2026-03-22"]
    assert read == ["2026-03-28", "2026-03-22"]


def test_a_day_is_read_again_after_it_is_over_so_that_no_file_is_missed_while_nobody_looked(
    raw_files: Sensor, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_raw_day(lake, dt.date(2026, 3, 29), polls=1)
    assert raw_files.tick() == ["2026-03-29"]

    make_raw_poll(lake, dt.datetime(2026, 3, 29, 21, 50, tzinfo=dt.UTC), {"koeln": city(1)})
    set_clock(monkeypatch, "2026-04-02T10:00:00+00:00")

    assert raw_files.tick() == ["2026-03-29"]


def test_what_a_run_has_reported_already_or_compaction_moved_is_not_reported_again(
    raw_files: Sensor, lake: Lake, instance: dg.DagsterInstance
) -> None:
    day = dt.date(2026, 3, 28)
    make_raw_day(lake, day, polls=3)
    instance.report_runless_asset_event(sensors.raw_report(lake, day.isoformat()))

    assert raw_files.tick() == []
    lake.raw.compact(day)
    assert raw_files.tick() == []


@pytest.mark.parametrize(
    ("now", "yesterday", "today"),
    [
        ("2026-03-28T23:00:00+00:00", "2026-03-28", "2026-03-29"),  # midnight before the day of 23 hours
        ("2026-03-29T22:00:00+00:00", "2026-03-29", "2026-03-30"),
        ("2026-10-24T22:00:00+00:00", "2026-10-24", "2026-10-25"),
        ("2026-10-25T22:59:59+00:00", "2026-10-24", "2026-10-25"),  # the last second of 25 hours
    ],
)
def test_the_files_of_yesterday_are_looked_at_from_midnight_to_midnight(
    raw_files: Sensor, lake: Lake, monkeypatch: pytest.MonkeyPatch, now: str, yesterday: str, today: str
) -> None:
    set_clock(monkeypatch, now)
    for date in (yesterday, today):
        make_raw_day(lake, dt.date.fromisoformat(date), polls=1)
    raw_files.tick()

    for date in (yesterday, today):
        make_raw_day(lake, dt.date.fromisoformat(date), polls=2)

    assert raw_files.tick() == [today, yesterday]


def test_dates_that_are_no_partitions_are_left_alone(raw_files: Sensor, lake: Lake) -> None:
    for date in (dt.date(2017, 12, 31), dt.date(2026, 3, 30)):
        make_raw_day(lake, date, polls=1)

    assert raw_files.tick() == []


def test_a_large_archive_is_taken_in_tick_by_tick_and_the_cursor_stays_small(raw_files: Sensor, lake: Lake) -> None:
    first = dt.date(2026, 1, 1).toordinal()
    for number in range(30):
        make_raw_day(lake, dt.date.fromordinal(first + number), polls=1, points=1)

    assert [len(raw_files.tick()) for _ in range(3)] == [DATES_PER_TICK, 30 - DATES_PER_TICK, 0]
    assert json.loads(str(raw_files.cursor)) == {"days": [["2026-01-01", "2026-01-30"]], "files": {}}


def test_a_damaged_raw_file_does_not_hide_the_other_days(raw_files: Sensor, lake: Lake) -> None:
    for day in (20, 21):
        make_raw_day(lake, dt.date(2026, 3, day), polls=1)
    [file] = Path(lake.uri, "raw/query_date=2026-03-21").iterdir()
    file.write_bytes(b"PAR1 and nothing else")

    assert raw_files.tick() == ["2026-03-20"]
    assert raw_files.tick() == []


# Alerts

DAYS = dg.DailyPartitionsDefinition("2026-03-01")


class Breakable(dg.Config):
    fails: bool = True
    severity: str = "ERROR"


@dg.asset(partitions_def=DAYS)
def measured(config: Breakable) -> None:
    if config.fails and config.severity == "CRASH":
        raise dg.Failure("The disk is full: free some space.")


@dg.asset_check(asset=measured, partitions_def=DAYS)
def complete(context: dg.AssetCheckExecutionContext, config: Breakable) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity(config.severity)
    return dg.AssetCheckResult(passed=not config.fails, severity=severity, description="12 of 138 polls are missing.")


@dg.op
def divide() -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        raise RuntimeError("no share of nothing") from error


@dg.job
def dividing() -> None:
    divide()


MEASURING = dg.define_asset_job("measuring", [measured])
BREAKABLE = dg.Definitions(assets=[measured], asset_checks=[complete], jobs=[MEASURING, dividing])


def run(instance: dg.DagsterInstance, day: int, *, fails: bool = True, severity: str = "ERROR") -> None:
    """Measure a day in March; the check fails, or with the severity "CRASH" the run itself."""
    config = {"config": {"fails": fails, "severity": severity}}
    check = {"config": {"fails": fails, "severity": "ERROR" if severity == "CRASH" else severity}}
    BREAKABLE.resolve_job_def("measuring").execute_in_process(
        instance=instance,
        partition_key=f"2026-03-{day:02}",
        run_config={"ops": {"measured": config, "measured_complete": check}},
        raise_on_error=False,
    )


class Alerts(Sensor):
    """The sensor that sends mail, with a mail server on loopback."""

    def __init__(
        self, server: SmtpStandin, instance: dg.DagsterInstance, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._server = server
        settings = {
            "CHARGING_ASSETS_ALERT_EMAIL": "ops@example.org",
            "CHARGING_ASSETS_SMTP_URL": f"smtp://127.0.0.1:{server.port}",
            "CHARGING_ASSETS_UI_URL": "http://ui:3000",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        super().__init__("alerts_by_mail", instance, lake, settings)

    def mails(self) -> list[tuple[str, str]]:
        """Subject and text of the mails that one tick sends."""
        before = len(self._server.mails)
        assert self.tick() == []
        return [(str(mail["Subject"]), mail.get_content()) for mail in self._server.mails[before:]]


@pytest.fixture
def alerts(instance: dg.DagsterInstance, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alerts]:
    with SmtpStandin() as server:
        yield Alerts(server, instance, lake, monkeypatch)


def test_the_notifiers_exist_where_a_setting_names_a_receiver_and_run_then() -> None:
    def status(**env: str) -> dict[str, dg.DefaultSensorStatus]:
        return {one.name: one.default_status for one in build_sensors(Settings.from_env(env))}

    running, stopped = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    assert status() == {"raw_files": stopped}
    assert status(
        CHARGING_ASSETS_ALERT_EMAIL="ops@example.org",
        CHARGING_ASSETS_SMTP_URL="smtp://localhost",
        CHARGING_ASSETS_ALERT_WEBHOOK="http://localhost/hook",
    ) == {"raw_files": stopped, "alerts_by_mail": running, "alerts_by_webhook": running}


def test_what_failed_before_the_sensor_was_there_is_not_told(alerts: Alerts, instance: dg.DagsterInstance) -> None:
    run(instance, 1)

    assert alerts.mails() == []
    assert alerts.mails() == []


@pytest.mark.parametrize("stored_instance", ["one file per run", "one database"], indirect=True)
def test_one_mail_tells_of_everything_that_failed_since_the_last_tick(
    alerts: Alerts, instance: dg.DagsterInstance
) -> None:
    alerts.tick()
    run(instance, 1)
    run(instance, 2, fails=False)
    run(instance, 3, severity="WARN")
    run(instance, 4, severity="CRASH")
    BREAKABLE.resolve_job_def("dividing").execute_in_process(instance=instance, raise_on_error=False)

    [(subject, text)] = alerts.mails()

    assert subject == "charging_assets: 2 runs and 1 check failed, 1 warning"
    check, warning, crash, bug = text.strip().split("\n\n")
    assert check == (
        "Check failed: measured.complete (2026-03-01)\n12 of 138 polls are missing.\n"
        "http://ui:3000/assets/measured?view=checks"
    )
    assert warning.startswith("Warning: measured.complete (2026-03-03)\n")
    assert crash.startswith("Run failed: measuring (2026-03-04)\nThe disk is full: free some space.\n")
    assert "/runs/" in crash
    assert bug.startswith("Run failed: dividing\nRuntimeError: no share of nothing")
    assert alerts.mails() == []


def test_a_check_that_goes_on_failing_is_told_once_per_partition_and_again_after_it_had_passed(
    alerts: Alerts, instance: dg.DagsterInstance
) -> None:
    alerts.tick()
    run(instance, 1)
    assert len(alerts.mails()) == 1

    run(instance, 1)
    assert alerts.mails() == []
    run(instance, 2)
    assert "2026-03-02" in alerts.mails()[0][1]
    run(instance, 1, fails=False)
    run(instance, 1)
    assert "2026-03-01" in alerts.mails()[0][1]


def test_a_range_of_dates_is_named_by_its_ends(alerts: Alerts, instance: dg.DagsterInstance) -> None:
    alerts.tick()
    BREAKABLE.resolve_job_def("dividing").execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": "2026-03-01",
            "dagster/asset_partition_range_end": "2026-03-05",
        },
    )

    assert "Run failed: dividing (2026-03-01 to 2026-03-05)" in alerts.mails()[0][1]


def test_a_run_that_the_daemon_ended_is_told_with_what_the_daemon_says(
    alerts: Alerts, instance: dg.DagsterInstance
) -> None:
    alerts.tick()
    endless = instance.create_run_for_job(dividing, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(endless, "Exceeded maximum runtime of 86400 seconds.")

    [(_, text)] = alerts.mails()
    assert text.startswith("Run failed: dividing\nExceeded maximum runtime of 86400 seconds.\n")


def test_a_message_waits_for_a_receiver_that_is_down_and_is_sent_once(
    alerts: Alerts, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts.tick()
    cursor = alerts.cursor
    run(instance, 1)
    monkeypatch.setenv("CHARGING_ASSETS_SMTP_URL", "smtp://bot:hunter2@127.0.0.1:9")
    for _ in range(3):
        with pytest.raises(sensors.NotSentError, match="was not sent"):
            alerts.tick()
    assert alerts.cursor == cursor
    run(instance, 2)

    monkeypatch.setenv("CHARGING_ASSETS_SMTP_URL", f"smtp://127.0.0.1:{alerts._server.port}")
    [(subject, _)] = alerts.mails()

    assert subject == "charging_assets: 2 checks failed"
    assert alerts.mails() == []


def test_a_message_that_nobody_took_for_a_day_is_given_up_and_the_tick_says_so(
    alerts: Alerts, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts.tick()
    run(instance, 1)
    monkeypatch.setenv("CHARGING_ASSETS_SMTP_URL", "smtp://bot:hunter2@127.0.0.1:9")
    set_clock(monkeypatch, dt.datetime.now(dt.UTC) + sensors.GIVEN_UP_AFTER + dt.timedelta(seconds=1))

    alerts.tick()

    assert alerts.said.startswith("1 problems were told nobody: The mail to ops@example.org was not sent")
    assert "hunter2" not in alerts.said
    alerts.tick()
    assert alerts.said == "Nothing failed."


def test_a_flood_of_events_is_told_in_order_over_several_ticks(
    alerts: Alerts, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "EVENTS_PER_TICK", 3)
    alerts.tick()
    for day in range(1, 5):
        run(instance, day, severity="CRASH" if day % 2 else "ERROR")

    told = "".join(text for _ in range(3) for _, text in alerts.mails())

    assert [told.count(f"(2026-03-{day:02})") for day in range(1, 5)] == [1, 1, 1, 1]
    assert told.index("(2026-03-02)") < told.index("(2026-03-04)")
