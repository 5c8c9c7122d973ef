"""The platform's clock, set by a test. Dagster's own clock goes on."""

import datetime as dt
import types

import pytest

from charging_assets import calendar


def set_clock(monkeypatch: pytest.MonkeyPatch, now: dt.datetime | str) -> None:
    """Have `calendar.utc_now` and everything that asks it say `now` (aware, or ISO with an offset)."""
    at = dt.datetime.fromisoformat(now) if isinstance(now, str) else now

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return at.astimezone(tz)

    # The module's own name for `datetime`, so that modules which imported `utc_now` itself are told, too.
    monkeypatch.setattr(calendar, "dt", types.SimpleNamespace(**{**vars(dt), "datetime": Clock}))
