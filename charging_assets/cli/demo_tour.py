"""What `charging-assets demo` shows of the lake it made: tables, coverage, answers to questions, pictures and a report.

Belongs here: what is worth showing to somebody new. Does not belong here: making any of it (`demo`).
"""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from charging_assets.calendar import expected_polls, utc_now
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from charging_assets.lake import Lake
    from charging_assets.reports.occupancy.content import Report

WEEK = "utilization.svg"
POI_MAP = "pois.png"
REPORT = "report-koeln.html"
MAPPED_FEED = "koeln"
"""Whose stations and points of interest are drawn: a map of all of Germany would be dots."""
REPORTED_CITY = "Köln"

_WIDTH = 100
_QUESTIONS = {
    "How did the points stand at the last poll?": """\
SELECT status_class, count(*) AS points, round(100 * count(*) / sum(count(*)) OVER (), 1) AS percent
FROM status_chargingpoints WHERE query_time = (
  SELECT max(query_time) FROM status_chargingpoints WHERE query_date <= '{last}')
GROUP BY ALL ORDER BY points DESC""",
    "How busy are they, by power class, and how sure is that?": """\
SELECT scope_id AS power_class, month, points_observed AS points,
       round(100 * coverage, 1) AS "coverage %", round(100 * utilization, 1) AS "utilization %",
       round(events_per_point_day, 2) AS "events a day", round(duration_p50_s / 60) AS "median min"
FROM kpi_monthly WHERE scope = 'power_class' AND month >= date_trunc('month', DATE '{first}')
ORDER BY month, points DESC""",
    "And by local hour? Below 80 % coverage no figure is shown.": """\
SELECT hour_local // 3 * 3 AS from_hour, sum(occupied_s + free_s + fault_s) AS observed_s,
       round(100 * observed_s / (observed_s + sum(unknown_s)), 1) AS "coverage %",
       CASE WHEN "coverage %" >= 80 THEN round(100 * sum(occupied_s) / observed_s, 1)
            END AS "utilization %"
FROM usage_profile WHERE scope = 'feed' GROUP BY ALL ORDER BY from_hour""",
    "Are points used more near something? Times as much, all else equal; an association, no cause.": """\
SELECT term, points_with AS points, round(rate_ratio, 2) AS times,
       round(rate_ratio_low, 2) AS low_95, round(rate_ratio_high, 2) AS high_95, is_finding
FROM poi_effect WHERE outcome = 'utilization' AND term LIKE 'poi:%' ORDER BY rate_ratio DESC""",
    "Which feeds failed most, and why?": """\
SELECT feed, count(*) AS failed, string_agg(DISTINCT reason, '; ' ORDER BY reason) AS reasons
FROM poll_log WHERE outcome <> 'ok' AND query_date BETWEEN '{first}' AND '{last}'
GROUP BY feed ORDER BY failed DESC, feed LIMIT 5""",
}


def show(settings: Settings, lake: "Lake", dates: Sequence[dt.date], unasked: str) -> "Report":
    """Print what there is of the dates, draw the pictures, and give out a report.

    Args:
        settings: the demo's; pictures and report are written into its home.
        lake: the demo's, built.
        dates: in order.
        unasked: why some polls were not made, in words; may be empty.

    Returns:
        The report.
    """
    _print_tables(lake, dates)
    _print_coverage(settings, lake, dates, unasked)
    _answer_questions(lake, dates)
    _draw(settings, lake, dates)
    return _report(settings, lake, dates)


def _print_tables(lake: "Lake", dates: Sequence[dt.date]) -> None:
    from charging_assets.model.tables import METADATA, is_dated

    click.echo(f"\n{'table':<26}{'rows':>12}{'bytes':>12}")
    for table in METADATA.tables.values():
        if table.name == "raw_snapshots":
            continue
        parts = [lake.info(table.name, date) for date in (dates if is_dated(table) else [None])]
        if infos := [info for info in parts if info is not None]:
            rows, size = sum(info.rows for info in infos), sum(info.bytes for info in infos)
            click.echo(f"{table.name:<26}{rows:>12,}{size:>12,}")


def _print_coverage(settings: Settings, lake: "Lake", dates: Sequence[dt.date], unasked: str) -> None:
    from charging_assets.warehouse import connect

    with connect(lake, ["poll_log"]) as connection:
        ((size, asked, came),) = connection.execute(
            "SELECT sum(bytes_total), count(*), count(*) FILTER (outcome = 'ok') "  # noqa: S608 - a number
            f"FROM (SELECT DISTINCT ON (feed, time_bucket(INTERVAL {settings.interval_s} SECOND, query_time)) * "
            "FROM poll_log WHERE query_date BETWEEN ? AND ? ORDER BY outcome = 'ok' DESC)",
            [dates[0], dates[-1]],
        ).fetchall()
    disk = sum(file.stat().st_size for file in (settings.home / "lake/raw").rglob("*.parquet"))
    click.echo(f"Made from {size / 1e9:.2f} GB of JSON, kept byte for byte in {disk / 1e6:.0f} MB.")
    polls, feeds = sum(expected_polls(date, settings.interval_s) for date in dates), len(settings.feeds)
    planned = polls * feeds
    text = (
        f"Coverage: {polls:,} polls of {feeds} feeds were planned, {planned:,} answers; {came:,} came "
        f"({100 * came / planned:.1f} %), {asked - came:,} failed, {planned - asked:,} were never asked for"
    )
    click.echo("\n" + click.wrap_text(f"{text}{f' ({unasked})' if unasked else ''}.", _WIDTH))


def _answer_questions(lake: "Lake", dates: Sequence[dt.date]) -> None:
    from charging_assets.cli.output import write_table
    from charging_assets.warehouse import query

    for question, sql in _QUESTIONS.items():
        statement = sql.format(first=dates[0], last=dates[-1])
        click.echo("\n" + click.style(question, bold=True) + "\n\n" + click.style(statement, dim=True) + "\n")
        with query(lake, statement) as reader:
            write_table(reader)


def _draw(settings: Settings, lake: "Lake", dates: Sequence[dt.date]) -> None:
    from charging_assets.derive.occupancy.periods import EVERYTHING, opened_period
    from charging_assets.reports.heatmap import heatmap

    with opened_period(lake, dates[0], dates[-1]) as period:
        week = heatmap(period.profile(EVERYTHING), f"simulated data, {dates[0]} to {dates[-1]}")
    (settings.home / WEEK).write_text(week, encoding="utf-8")
    (settings.home / POI_MAP).write_bytes(_map_of(lake, MAPPED_FEED))


def _map_of(lake: "Lake", feed: str) -> bytes:
    """Stations of a feed and what stands around them, as a PNG."""
    import pyarrow.compute as pc

    from charging_assets.reports.poi_map import SIMULATED, poi_map

    stations = lake.read("charging_station", None, ["id_cs", "longitude", "latitude", "feed", "is_active"])
    pois = lake.read("poi", None, ["geom", "poi_category", "city", "is_current"])
    return poi_map(
        stations.filter(pc.and_(pc.equal(stations["feed"], feed), stations["is_active"])),
        pois.filter(pc.and_(pc.equal(pois["city"], feed), pois["is_current"])),
        lake.read("mapping_poi_cs", None, ["id_cs"]),
        SIMULATED,
    )


def _report(settings: Settings, lake: "Lake", dates: Sequence[dt.date]) -> "Report":
    """Give out a report of the stations of a city, as `charging-assets report` does."""
    from charging_assets.reports.occupancy.archive import publish
    from charging_assets.reports.occupancy.content import make_report
    from charging_assets.reports.occupancy.page import report_page

    report = make_report(lake, "station", dates[0], dates[-1], city=REPORTED_CITY)
    (settings.home / REPORT).write_text(report_page(report), encoding="utf-8")
    publish(lake, report, utc_now())
    return report
