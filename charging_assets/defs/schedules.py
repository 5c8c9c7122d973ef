"""When to poll."""

import dagster as dg

from charging_assets.calendar import compact_text, query_date_of
from charging_assets.defs.assets import SCHEDULED_TAG, too_late
from charging_assets.defs.jobs import poll_chargecloud


def poll_schedule(interval_s: int) -> dg.ScheduleDefinition | None:
    """The schedule that polls every `interval_s` seconds (a divisor of an hour).

    None below five minutes, where starting a run per poll costs more than the poll, and where the interval is not whole
    minutes, which cron cannot express.
    """
    minutes, seconds = divmod(interval_s, 60)
    if seconds or minutes < 5:
        return None

    @dg.schedule(
        job=poll_chargecloud,
        name="poll_chargecloud_schedule",
        cron_schedule="0 * * * *" if minutes == 60 else f"*/{minutes} * * * *",
        execution_timezone="UTC",  # no hour is missing or double there
        description=f"Polls every {minutes} minutes, once turned on. A tick later than that skips itself.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        due = context.scheduled_execution_time
        if reason := too_late(due, interval_s):
            return dg.SkipReason(reason)
        return dg.RunRequest(
            run_key=compact_text(due),
            partition_key=query_date_of(due).isoformat(),
            tags={SCHEDULED_TAG: due.isoformat()},
        )

    return schedule
