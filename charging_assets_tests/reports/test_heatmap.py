import datetime as dt
import re
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from charging_assets.calendar import day_bounds
from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.statuses import status_class
from charging_assets.reports.heatmap import Observed, heatmap, weekly_utilization

MONDAY = dt.date(2026, 1, 5)
SVG = "{http://www.w3.org/2000/svg}"


def write_day(lake: Lake, date: dt.date, statuses: dict[int, list[str]]) -> None:
    """The statuses of points 0, 1, … at some minutes of a date, counted from its midnight."""
    start = day_bounds(date)[0]
    rows = sorted(
        (f"DE*X*{point}", start + dt.timedelta(minutes=minute), status)
        for minute, texts in statuses.items()
        for point, status in enumerate(texts)
    )
    ids, times, texts = zip(*rows, strict=True)
    columns = {
        "id_chargingpoint": ids,
        "query_time": times,
        "status_cp": texts,
        "status_parkingsensor": [None] * len(rows),
        "query_date": [date] * len(rows),
        "source": ["simulator"] * len(rows),
        "feed": ["roth"] * len(rows),
        "status_class": [status_class(text) for text in texts],
    }
    schema = arrow_schema("status_chargingpoints")
    lake.write("status_chargingpoints", date, pa.table([columns[name] for name in schema.names], schema=schema))


def cells(svg: str) -> dict[str, tuple[str, str | None, str]]:
    """By what the mouse over a cell tells first: the rest of it, the figure that is shown, and the fill."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        (title, box, *number) = group
        at, _, told = str(title.text).partition(": ")
        found[at] = (told, number[0].text if number else None, box.attrib["fill"])
    return found


def test_occupied_is_counted_of_observed_points_and_unknown_is_not_observed(lake: Lake) -> None:
    write_day(
        lake,
        MONDAY,
        {
            **{60 + 10 * poll: ["CHARGING", "AVAILABLE", "OUTOFORDER", "AVAILABLE", "CHARGING"] for poll in range(5)},
            110: ["AVAILABLE", "AVAILABLE", "UNKNOWN", "REMOVED", "CHARGING"],
        },
    )
    hour = weekly_utilization(lake, [MONDAY], 600)[0, 1]
    assert hour == Observed(occupied=11, observed=28, planned=30)
    assert hour.utilization == pytest.approx(11 / 28)


def test_hours_are_those_of_the_clock_on_the_wall(lake: Lake) -> None:
    spring = dt.date(2026, 3, 29)  # a Sunday whose third hour is missing
    write_day(lake, spring, {60: ["CHARGING"], 120: ["AVAILABLE"]})
    week = weekly_utilization(lake, [spring], 600)
    assert week[6, 2].planned == 0
    assert (week[6, 1].occupied, week[6, 3].observed) == (1, 1)
    assert sum(hour.planned for hour in week.values()) == 23 * 6


def test_a_cell_shows_its_figure_and_is_hatched_where_too_little_was_observed() -> None:
    week = dict.fromkeys([(day, hour) for day in range(7) for hour in range(24)], Observed(0, 0, 0))
    week[0, 13] = Observed(occupied=25, observed=100, planned=100)
    week[1, 13] = Observed(occupied=10, observed=80, planned=100)
    week[2, 13] = Observed(occupied=40, observed=79, planned=100)

    shown = cells(heatmap(week, "simulated data"))

    assert len(shown) == 168
    assert shown["Mon 13:00"][:2] == ("25.0 % occupied, 100 % observed", "25")
    assert shown["Tue 13:00"][:2] == ("12.5 % occupied, 80 % observed", "12")
    assert shown["Wed 13:00"] == ("79 % observed", None, "url(#hatch)")
    assert [at for at, (_, figure, _) in shown.items() if figure] == ["Mon 13:00", "Tue 13:00"]
    assert all(fill == "url(#hatch)" for _, figure, fill in shown.values() if figure is None)


def test_more_is_darker_up_to_the_end_of_the_scale() -> None:
    week = {(0, hour): Observed(occupied=hour, observed=100, planned=100) for hour in range(24)}
    fills = [fill for _, _, fill in cells(heatmap(week, "")).values()]
    brightness = [sum(bytes.fromhex(fill[1:])) for fill in fills]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness)) == 24


def test_the_picture_says_where_its_data_comes_from_and_how_much_was_observed() -> None:
    week = {(0, 0): Observed(1, 90, 100), (0, 1): Observed(1, 5, 100)}
    texts = [text.text or "" for text in ElementTree.fromstring(heatmap(week, "a < b")).iter(f"{SVG}text")]
    assert any(text.endswith("· a < b") for text in texts)
    assert any(re.match(r"47.5 % of 200 planned", text) for text in texts)
    assert "5 %" in texts  # the scale's end: the next 5 % above 1.1 %


def test_a_week_without_observations_is_a_picture_too() -> None:
    assert set(cells(heatmap({(0, 0): Observed(0, 0, 0)}, "")).values()) == {("0 % observed", None, "url(#hatch)")}
