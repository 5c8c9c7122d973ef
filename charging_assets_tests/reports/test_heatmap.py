"""The picture of a week."""

from xml.etree import ElementTree

import pyarrow as pa

from charging_assets.model.arrow import arrow_schema
from charging_assets.reports.heatmap import heatmap

SVG = "{http://www.w3.org/2000/svg}"


def week_of(hours: dict[tuple[int, int], tuple[int, int]]) -> pa.Table:
    """By weekday (1: Monday) and hour: seconds occupied and, of them, observed; the rest of 100 seconds is unknown."""
    rows = [
        {
            "scope": "all",
            "scope_id": "all",
            "weekday": weekday,
            "hour_local": hour,
            "occupied_s": occupied,
            "free_s": observed - occupied,
            "fault_s": 0,
            "unknown_s": 100 - observed,
            "days": 1,
            "coverage": observed / 100,
            "utilization": occupied / observed if observed >= 80 else None,
        }
        for (weekday, hour), (occupied, observed) in hours.items()
    ]
    return pa.Table.from_pylist(rows, arrow_schema("usage_profile"))


def cells(svg: str) -> dict[str, tuple[str, str | None, str]]:
    """By what the mouse over a cell tells first: the rest of it, the figure that is shown, and the fill."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        (title, box, *number) = group
        at, _, told = str(title.text).partition(": ")
        found[at] = (told, number[0].text if number else None, box.attrib["fill"])
    return found


def test_a_cell_shows_its_figure_and_is_hatched_where_too_little_was_observed() -> None:
    shown = cells(heatmap(week_of({(1, 13): (25, 100), (2, 13): (10, 80), (3, 13): (40, 79)}), "simulated data"))

    assert len(shown) == 168
    assert shown["Mon 13:00"][:2] == ("25.0 % occupied, 100 % observed", "25")
    assert shown["Tue 13:00"][:2] == ("12.5 % occupied, 80 % observed", "12")
    assert shown["Wed 13:00"] == ("79 % observed", None, "url(#hatch)")
    assert shown["Sun 23:00"] == ("0 % observed", None, "url(#hatch)")
    assert [at for at, (_, figure, _) in shown.items() if figure] == ["Mon 13:00", "Tue 13:00"]
    assert all(fill == "url(#hatch)" for _, figure, fill in shown.values() if figure is None)


def test_more_is_darker_up_to_the_end_of_the_scale() -> None:
    shown = cells(heatmap(week_of({(1, hour): (hour, 100) for hour in range(24)}), ""))
    fills = [fill for at, (_, _, fill) in shown.items() if at.startswith("Mon")]
    brightness = [sum(bytes.fromhex(fill[1:])) for fill in fills]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness)) == 24


def test_the_picture_says_where_its_data_comes_from_and_how_much_was_observed() -> None:
    drawn = heatmap(week_of({(1, 0): (1, 90), (1, 1): (1, 5)}), "a < b")
    texts = [text.text or "" for text in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    assert any(text.endswith("· a < b") for text in texts)
    assert "47.5 % of the points' time was observed" in texts
    assert "5 %" in texts  # the scale's end: the next 5 % above 1.1 %


def test_a_week_without_observations_is_a_picture_too() -> None:
    assert set(cells(heatmap(week_of({}), "")).values()) == {("0 % observed", None, "url(#hatch)")}
