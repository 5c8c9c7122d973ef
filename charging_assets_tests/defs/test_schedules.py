import datetime as dt

import dagster as dg
import pytest

from charging_assets.defs import assets
from charging_assets.defs.assets import SCHEDULED_TAG
from charging_assets.defs.schedules import poll_schedule


def evaluate(graph: dg.Definitions, due: str, now: str, monkeypatch: pytest.MonkeyPatch) -> dg.RunRequest | str | None:
    """The run that a tick due at `due` asks for at `now` (times in ISO, UTC), or why it asks for none."""
    monkeypatch.setattr(assets, "utc_now", lambda: dt.datetime.fromisoformat(now))
    context = dg.build_schedule_context(
        scheduled_execution_time=dt.datetime.fromisoformat(due), repository_def=graph.get_repository_def()
    )
    tick = graph.resolve_schedule_def("poll_chargecloud_schedule").evaluate_tick(context)
    assert tick.run_requests is not None
    return tick.run_requests[0] if tick.run_requests else tick.skip_message


@pytest.mark.parametrize(
    ("due", "partition"),
    [
        ("2026-01-15T22:50:00+00:00", "2026-01-15"),  # winter, UTC+1
        ("2026-01-15T23:00:00+00:00", "2026-01-16"),
        ("2026-03-28T22:50:00+00:00", "2026-03-28"),  # the night before the clocks go forward
        ("2026-03-28T23:00:00+00:00", "2026-03-29"),
        ("2026-03-29T00:50:00+00:00", "2026-03-29"),  # 01:50; the next tick is 03:00
        ("2026-03-29T01:00:00+00:00", "2026-03-29"),
        ("2026-03-29T21:50:00+00:00", "2026-03-29"),  # 23:50, summer time by now
        ("2026-03-29T22:00:00+00:00", "2026-03-30"),
        ("2026-10-24T21:50:00+00:00", "2026-10-24"),  # the night before they go back
        ("2026-10-24T22:00:00+00:00", "2026-10-25"),
        ("2026-10-25T00:30:00+00:00", "2026-10-25"),  # 02:30 for the first time
        ("2026-10-25T01:30:00+00:00", "2026-10-25"),  # and for the second
        ("2026-10-25T22:50:00+00:00", "2026-10-25"),
        ("2026-10-25T23:00:00+00:00", "2026-10-26"),
    ],
)
def test_a_tick_polls_for_the_berlin_date_at_which_it_was_due(
    graph: dg.Definitions, due: str, partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = evaluate(graph, due, due, monkeypatch)

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == partition
    assert request.tags["dagster/partition"] == partition
    assert request.tags[SCHEDULED_TAG] == due


def test_both_runs_of_the_doubled_hour_have_their_own_run_key(
    graph: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = ("2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00")

    keys = {evaluate(graph, due, due, monkeypatch).run_key for due in ticks}  # type: ignore[union-attr]

    assert keys == {"20261025T003000Z", "20261025T013000Z"}


def test_a_tick_is_good_until_one_interval_after_it_was_due(
    graph: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = "2026-05-02T10:00:00+00:00"

    assert isinstance(evaluate(graph, due, "2026-05-02T10:10:00+00:00", monkeypatch), dg.RunRequest)
    skipped = evaluate(graph, due, "2026-05-02T10:10:01+00:00", monkeypatch)
    assert isinstance(skipped, str)
    assert "due at 2026-05-02T10:00:00+00:00, 0:10:01 ago" in skipped


def test_the_schedule_waits_until_somebody_turns_it_on(graph: dg.Definitions) -> None:
    schedule = graph.resolve_schedule_def("poll_chargecloud_schedule")

    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


@pytest.mark.parametrize(
    ("interval_s", "cron"),
    [
        (300, "*/5 * * * *"),
        (600, "*/10 * * * *"),
        (720, "*/12 * * * *"),
        (1800, "*/30 * * * *"),
        (3600, "0 * * * *"),
    ],
)
def test_the_cron_expression_follows_the_interval(interval_s: int, cron: str) -> None:
    schedule = poll_schedule(interval_s)

    assert schedule is not None
    assert schedule.cron_schedule == cron


@pytest.mark.parametrize("interval_s", [10, 60, 240, 450])
def test_intervals_below_five_minutes_or_of_broken_minutes_have_no_schedule(interval_s: int) -> None:
    assert poll_schedule(interval_s) is None
