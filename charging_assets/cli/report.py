"""`charging-assets report`: how much charging points were used in a period, as a file to hand on."""

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charging_assets.calendar import BERLIN, today, utc_now
from charging_assets.cli.environment import open_lake
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from charging_assets.lake import Lake, PublishedReport
    from charging_assets.reports.occupancy.archive import Change
    from charging_assets.reports.occupancy.content import By, Report
    from charging_assets.reports.occupancy.exports import Decimal
    from charging_assets.reports.occupancy.provenance import Provenance

_DATE = click.DateTime(["%Y-%m-%d"])
_STDOUT = "-"

CHANGES_SHOWN = 10
_DAYS_WIDTH = 100
"""Characters for the names of missing days."""


@click.command()
@click.option(
    "--by",
    type=click.Choice(["station", "city", "operator", "power-class"]),
    required=True,
    help="What the report has a row of.",
)
@click.option("--from", "first", metavar="DATE", type=_DATE, required=True, help="First day, as YYYY-MM-DD.")
@click.option("--to", "last", metavar="DATE", type=_DATE, required=True, help="Last day.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "xlsx", "parquet", "html"]),
    default="xlsx",
    show_default=True,
    help="xlsx: all sheets; html: a page to print, with plots and findings; csv, parquet: the rows.",
)
@click.option("--only", metavar="ID", help="Only this one: a station's number, else a name.")
@click.option("--city", metavar="NAME", help="Only this city; by station: all stations of it.")
@click.option(
    "--decimal",
    type=click.Choice(["point", "comma"]),
    default="point",
    show_default=True,
    help="Of csv: comma for a German Excel, which takes 3.5 for the third of May.",
)
@click.option(
    "--output",
    metavar="FILE",
    help="Where to; - is standard output.  [default: report-<by>-<from>-<to>.<format>, in this folder]",
)
def report(
    by: str,
    first: dt.datetime,
    last: dt.datetime,
    form: str,
    only: str | None,
    city: str | None,
    decimal: "Decimal",
    output: str | None,
) -> None:
    """Report how much charging points were used, from one day to another.

    Every report says of which period it is, how much of that was observed, by which method, and from whom the data are;
    a csv also in a text file beside it. The lake keeps what was given out: when the same is asked again and the figures
    are others by now, they are listed.

    \b
      charging-assets report --by station --city Köln
          --from 2026-03-01 --to 2026-03-31 --format html
      charging-assets report --by power-class
          --from 2026-03-01 --to 2026-03-31 --format csv --decimal comma
    """  # noqa: D301 - click wants the character: what follows keeps its lines
    from charging_assets.reports.occupancy.archive import publish
    from charging_assets.reports.occupancy.content import UnknownName, make_report
    from charging_assets.reports.occupancy.notes import notes

    only, city = _place(by, only, city)
    if not first <= last or last.date() > today():
        raise click.UsageError(
            f"Expected --from and --to, the earlier one first and none after {today()} (today), got {first:%Y-%m-%d} "
            f"and {last:%Y-%m-%d}."
        )
    lake = open_lake(Settings.from_env())
    try:
        made = make_report(lake, _BY[by], first.date(), last.date(), only, city)
    except UnknownName as error:
        raise click.ClickException(str(error)) from error
    content = _content(made, form, decimal)
    done = publish(lake, made, utc_now())
    path = Path(output or _file_name(made, form))
    if output == _STDOUT:
        click.get_binary_stream("stdout").write(content)
    else:
        _write(path, content)
        if form == "csv":
            _write(path.with_name(f"{path.stem}-notes.txt"), notes(made).encode())
    said = made.provenance
    click.echo(f"{path}  {said.report_id}: {_in_short(said)}", err=output == _STDOUT)
    if done.before is not None:
        last_time = f"{done.before.report_id} of {done.before.published_at.astimezone(BERLIN):%Y-%m-%d}"
        click.echo(f"{last_time} answered the same otherwise: {_counted(done.changes)}", err=output == _STDOUT)
        _tell_changes(done.changes, None if output == _STDOUT else path.with_name(f"{path.stem}-changes.txt"))


def print_changed_figures(lake: "Lake", dates: Collection[dt.date]) -> None:
    """Print which published figures of periods that touch `dates` are others by now; nothing where none is."""
    from charging_assets.reports.occupancy.archive import changed_figures

    of_report: dict[PublishedReport, list[Change]] = {}
    for change in changed_figures(lake, dates):
        of_report.setdefault(change.published, []).append(change)
    if not of_report:
        return
    click.echo(f"published reports would be others now: {len(of_report):,}")
    for published, changes in list(of_report.items())[:CHANGES_SHOWN]:
        shown = next((change for change in changes if change.figure.startswith("Utilization")), changes[0])
        click.echo(f"  {published.report_id} {_asked(published)}  {_counted(changes)}, such as {shown}")
    if len(of_report) > CHANGES_SHOWN:
        click.echo(f"  … and {len(of_report) - CHANGES_SHOWN:,} more reports")
    click.echo("  ask for a report again to have all of its changes")


def _asked(published: "PublishedReport") -> str:
    asked = published.question
    place = asked.only or asked.city
    return f"({asked.by.replace('_', ' ')}{f' {place}' if place else ''}, {asked.first} to {asked.last})"


def _counted(changes: "Sequence[Change]") -> str:
    if not changes:
        return "only in its days, hours or power classes; no figure of a row changed"
    return f"{len(changes):,} figure{'s' * (len(changes) != 1)} changed"


def _tell_changes(changes: "Sequence[Change]", file: Path | None) -> None:
    """Print the first of them, and write all into a file where there are more; without one, print all as errors are."""
    for change in changes if file is None else changes[:CHANGES_SHOWN]:
        click.echo(f"  {change}", err=file is None)
    if file is not None and len(changes) > CHANGES_SHOWN:
        _write(file, "".join(f"{change}\n" for change in changes).encode())
        click.echo(f"  … and {len(changes) - CHANGES_SHOWN:,} more: all are in {file}")


_BY: "Mapping[str, By]" = {"station": "station", "city": "city", "operator": "operator", "power-class": "power_class"}


def _place(by: str, only: str | None, city: str | None) -> tuple[str | None, str | None]:
    """The one thing that is asked for, and the city of the stations that are."""
    if only is not None and city is not None:
        raise click.UsageError("Expected --only or --city, got both.")
    if city is not None and by not in {"station", "city"}:
        raise click.UsageError(f"Expected --city with --by station or city, got it with --by {by}.")
    return (city, None) if city is not None and by == "city" else (only, city)


def _content(report: "Report", form: str, decimal: "Decimal") -> bytes:
    from charging_assets.reports.occupancy import exports

    if form == "html":
        from charging_assets.reports.occupancy.page import report_page

        return report_page(report).encode()
    if form == "xlsx":
        from charging_assets.reports.occupancy.workbook import to_xlsx

        return to_xlsx(report)
    return exports.to_csv(report, decimal) if form == "csv" else exports.to_parquet(report)


def _in_short(said: "Provenance") -> str:
    from charging_assets.reports.occupancy.provenance import to_be_shown

    if said.coverage is None:
        return "nothing is known of this period, so it has no figures"
    coverage = f"coverage {100 * to_be_shown(said.coverage):.1f} %"
    told = f"{said.points_observed:,} of {said.points:,} points observed, {coverage}"
    if said.missing_days:
        told += f", {len(said.missing_days):,} of {said.days:,} days missing{_named(said.missing_days)}"
    told += ", preliminary: the period goes on" if said.is_preliminary else ""
    told += ", all simulated" if said.is_simulated else ""
    return f"{told}\n  {said.outdated}" if said.outdated else told


def _named(dates: "Sequence[dt.date]") -> str:
    from charging_assets.reports.occupancy.wording import days

    names = days(dates)
    return (
        f" ({names})" if len(names) <= _DAYS_WIDTH else f" (the first {days(dates[:1])}, the last {days(dates[-1:])})"
    )


def _file_name(report: "Report", form: str) -> str:
    """`report-station-Köln-2026-03-01-2026-03-31.xlsx`."""
    place = re.sub(r"[^\w-]+", "_", report.only or report.city or "").strip("_")
    parts = ["report", report.by.replace("_", "-"), *([place] if place else []), str(report.first), str(report.last)]
    return f"{'-'.join(parts)}.{form}"


def _write(path: Path, content: bytes) -> None:
    from charging_assets.reports.occupancy.exports import write_file

    try:
        write_file(path, content)
    except OSError as error:
        raise click.ClickException(
            f"{path} cannot be written ({error.strerror}): name another place with --output."
        ) from error
