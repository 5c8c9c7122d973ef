"""`charging-assets explain`: from a figure down to its intervals, polls and raw answers, to be read by an auditor."""

import datetime as dt
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from charging_assets.calendar import BERLIN
from charging_assets.cli.environment import open_lake
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from charging_assets.reports.explanation import Event, Explanation, Hour, Interval, Poll, Station, Unobserved

_WIDTH = 100
_INDENT = " " * 3
_HASH = 12
"""So many hex digits of a hash are shown where it is not asked for in full."""
_FAILED = 10
"""So many polls that gave nothing usable are named one by one."""
_LETTERS = {"occupied": "B", "free": "F", "fault": "X", "gone": "", "unknown": "U"}


@click.command()
@click.option("--kpi", metavar="FIGURE", required=True, help="A column of kpi_daily, e.g. utilization or events.")
@click.option("--point", metavar="ID", help="Of a charging point.")
@click.option("--station", metavar="ID", help="Of a charging station.")
@click.option("--city", metavar="NAME", help="Of a city.")
@click.option("--operator", metavar="NAME", help="Of an operator.")
@click.option("--power-class", metavar="NAME", help="Of a power class, e.g. 'AC 11-22'.")
@click.option("--feed", metavar="NAME", help="Of a feed.")
@click.option("--date", "query_date", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text: for people; json: the same with every poll and full hashes.",
)
@click.option(
    "--all", "show_all", is_flag=True, help="Every point, station or event, and every poll with its full hash."
)
@click.option("--verify", is_flag=True, help="Read the raw answers too, and compute their SHA-256 again.")
def explain(kpi: str, query_date: dt.datetime, form: str, show_all: bool, verify: bool, **scopes: str | None) -> None:
    """Show what a figure of a day is made from, down to the raw answers.

    Each level is added up again and compared with the one above it: figure, charging points, intervals of status,
    polls, and the SHA-256 of the raw answers. The exit code is 1 when something differs, or nothing can be shown.

    \b
      charging-assets explain --kpi utilization --station 493558 --date 2026-11-24
      charging-assets explain --kpi events --city Köln --date 2026-11-24 --format json
    """  # noqa: D301 - click wants the character: what follows keeps its lines
    named = [(scope, scope_id) for scope, scope_id in scopes.items() if scope_id is not None]
    if len(named) != 1:
        from charging_assets.model.tables.occupancy import SCOPES

        options = ", ".join(f"--{scope.replace('_', '-')}" for scope in SCOPES)
        raise click.UsageError(f"Expected one of {options}, got {len(named) or 'none'}.")
    from charging_assets.reports.explanation import MOST, ExplanationError, as_json
    from charging_assets.reports.explanation import explain as explain_figure

    lake = open_lake(Settings.from_env())
    most = None if show_all else MOST
    try:
        explanation = explain_figure(lake, kpi, *named[0], query_date.date(), most=most, verify=verify)
    except ExplanationError as error:
        raise click.ClickException(str(error)) from error
    if form == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(as_json(explanation)), indent=1))
    else:
        click.echo("\n".join(_lines(explanation, show_all=show_all)))
    if not explanation.is_sound:
        wrong = sum(not check.is_equal for check in explanation.checks)
        raise click.ClickException(
            f"{wrong} of {len(explanation.checks)} comparisons differ: this figure is not sound."
        )


def _lines(explanation: "Explanation", *, show_all: bool) -> Iterator[str]:
    """The explanation as text of at most 100 columns, but for paths and names."""
    scope = explanation.scope.replace("_", " ")
    name = f" ({explanation.name})" if explanation.name and explanation.name != explanation.scope_id else ""
    title = f"{explanation.kpi} of {scope} {explanation.scope_id}{name} on {explanation.query_date:%A, %Y-%m-%d}"
    yield click.style(f"{title}: {_value(explanation)}", bold=True)
    sections = [
        ("The figure", ("figure",), _figure_lines(explanation)),
        ("The hours", ("hours",), _hour_lines(explanation)),
        ("The stations", ("stations",), _station_lines(explanation, show_all=show_all)),
        ("The busiest poll", ("busiest",), _busiest_lines(explanation)),
        ("The events", ("events",), _event_lines(explanation)),
        ("The charging points", ("points",), _point_lines(explanation)),
        ("The intervals of each point", ("intervals",), _interval_lines(explanation)),
        ("The polls and their raw answers", ("polls", "answers"), _poll_lines(explanation, show_all=show_all)),
    ]
    number = 0
    for heading, levels, lines in sections:
        shown = list(lines)
        if not shown:
            continue
        number += 1
        yield f"\n{click.style(f'{number}. {heading}', bold=True)}"
        yield from (_INDENT + line if line else "" for line in shown)
        yield from _check_lines(explanation, levels)
    for note in explanation.notes:
        yield ""
        yield from _wrapped("Note: ", note, "")


def _figure_lines(explanation: "Explanation") -> Iterator[str]:
    figure, provenance = explanation.figure, explanation.provenance
    indent = " " * len(explanation.kpi)
    yield from _wrapped(f"{explanation.kpi} = ", figure.words)
    if figure.symbols and figure.numbers:
        yield f"{indent} = {figure.symbols}"
        yield f"{indent} = {figure.numbers}"
    yield f"{indent} = {_exact(explanation)}"
    if any(letter in (figure.symbols or "") for letter in "BFXOU") or explanation.kpi.removesuffix("_s") in _LETTERS:
        yield "B occupied, F free, X out of order, U unknown; observed O = B + F + X, in seconds of all points"
    totals = explanation.totals
    observed = totals["occupied"] + totals["free"] + totals["fault"]
    share = "none" if figure.coverage is None else f"{100 * figure.coverage:.2f} %"
    if explanation.kpi != "coverage":
        yield f"coverage = O / (O + U) = {observed:,} s / {observed + totals['unknown']:,} s = {share}"
    if figure.terms.get("open_unknown_s") is not None and "open_observed_s" in figure.terms:
        seen, unseen = figure.terms["open_observed_s"] or 0, figure.terms["open_unknown_s"] or 0
        share = f"{100 * seen / (seen + unseen):.2f} %" if seen + unseen else "none"
        yield f"coverage of opening hours = {seen:,} s / ({seen:,} s + {unseen:,} s) = {share}"
    yield ""
    hours = (explanation.until - explanation.start).total_seconds() / 3600
    day = f"{_stamp(explanation.start)} to {_stamp(explanation.until)}, {hours:.4g} hours"
    version = provenance.method_version or "of that version of the code"
    made_from = "what there is now" if provenance.is_current else "NOT what there is now"
    yield from _wrapped("meaning    ", figure.doc)
    yield from _wrapped("day        ", day)
    yield f"file       {provenance.file}"
    yield f"inputs     {provenance.inputs}"
    yield f"           ({made_from})"
    yield f"made by    charging_assets {provenance.code_version}, method version {version} (docs/method.md)"


def _point_lines(explanation: "Explanation") -> Iterator[str]:
    shown = explanation.points
    if len(shown) < explanation.points_in_all:
        yield f"{len(shown)} of {explanation.points_in_all:,}; --all shows the others too. Sums and checks are of all."
    head = ["charging point", "power class", *(f"{kind} {letter}".strip() for kind, letter in _LETTERS.items())]
    rows = [
        [point.id_cp, point.power_class or "not known", *(f"{point.seconds[kind]:,}" for kind in _LETTERS)]
        for point in shown
    ]
    if len(shown) < explanation.points_in_all:
        others = [f"{explanation.totals[kind] - sum(point.seconds[kind] for point in shown):,}" for kind in _LETTERS]
        rows.append([f"{explanation.points_in_all - len(shown):,} others", "", *others])
    rows.append(["seconds in all", "", *(f"{explanation.totals[kind]:,}" for kind in _LETTERS)])
    yield from _table(head, rows, right_from=2)
    if any(point.opening_hours for point in shown):
        yield ""
        head = ["charging point", "open (local time)", "occupied", "observed", "unknown while open"]
        rows = [
            [
                point.id_cp,
                point.opening_hours or "",
                *("-" if seconds is None else f"{seconds:,}" for seconds in point.open_seconds.values()),
            ]
            for point in shown
        ]
        yield from _table(head, rows, right_from=2)


def _interval_lines(explanation: "Explanation") -> Iterator[str]:
    if not any(point.intervals or point.unobserved for point in explanation.points):
        return
    hashes = {poll.key: poll.sha256 for poll in explanation.polls}
    yield from _wrapped(
        "",
        "A status holds around its poll: bounds lie midway between two polls, at most 0.75 poll from each. Beside each "
        "poll: the first digits of the SHA-256 of its raw answer.",
    )
    for point in explanation.points:
        yield ""
        yield click.style(point.id_cp, bold=True) + f", feed {point.feed}"
        kinds = "".join(f"{kind:>9}" for kind in point.seconds)
        yield f"local time         UTC                status      {kinds}"
        parts: list[Interval | Unobserved] = [*point.intervals, *point.unobserved]
        for part in sorted(parts, key=lambda part: part.start):
            yield from _part_lines(part, hashes)
        yield f"{'seconds in all':<50}{_cells(point.seconds)}"


def _part_lines(part: "Interval | Unobserved", hashes: Mapping[str, str]) -> Iterator[str]:
    """An interval, or time in none: its seconds in the columns that they count in, and below that the reasons."""
    from charging_assets.reports.explanation import Interval

    clock = f"{_span(part.start, part.end, BERLIN)}  {_span(part.start, part.end, dt.UTC)}"
    if not isinstance(part, Interval):
        yield f"{clock}  {'no interval':<12}{_cells({'unknown': part.seconds})}"
        for reason in part.reasons:
            yield from _wrapped("    ", reason)
        return
    seconds = Counter({part.counts_as: part.seconds - part.gap_s})
    seconds["unknown"] += part.gap_s
    yield f"{clock}  {part.status or '(none)':<12}{_cells(seconds)}"
    yield from _wrapped("    ", "; ".join([_seen_by(part.polls, hashes), *part.flags]))
    for gap in part.gaps:
        why = "; ".join(gap.reasons)
        yield from _wrapped("    ", f"{gap.seconds:,} s unknown, {_span(gap.start, gap.end, BERLIN)}: {why}")


def _cells(seconds: Mapping[str, int]) -> str:
    """A column of seconds for each kind, empty where there are none."""
    return "".join(f"{seconds[kind]:>9,}" if seconds.get(kind) else " " * 9 for kind in _LETTERS).rstrip()


def _hour_lines(explanation: "Explanation") -> Iterator[str]:
    if not explanation.hours:
        return

    def row(hour: "Hour") -> list[str]:
        occupied, observed = hour.seconds["occupied"], sum(hour.seconds[kind] for kind in ("occupied", "free", "fault"))
        share = "-" if hour.utilization is None else f"{100 * hour.utilization:.3f} %"
        clock = hour.hour_utc.astimezone(BERLIN)
        return [f"{clock:%H:%M}", f"{hour.hour_utc:%H:%M}", *(f"{n:,}" for n in (occupied, observed)), share]

    yield from _table(["local", "UTC", "occupied B", "observed O", "B / O"], map(row, explanation.hours), right_from=0)
    ratios = sorted(hour.utilization for hour in explanation.hours if hour.utilization is not None)
    yield from _percentile_lines([100 * ratio for ratio in ratios], 0.95, "hours", "{:.3f} %")


def _percentile_lines(ordered: Sequence[float], share: float, what: str, form: str) -> Iterator[str]:
    """How a percentile lies between two of the values in their order."""
    if not ordered:
        return
    place = share * (len(ordered) - 1) + 1
    below, part = int(place), place - int(place)
    text = (
        f"Of {len(ordered)} {what} from the least to the most, place {share:g} * ({len(ordered)} - 1) + 1 = {place:g}"
    )
    low = form.format(ordered[below - 1])
    if part < 1e-9:
        yield f"{text}: {low}."
        return
    high = form.format(ordered[below])
    yield from _wrapped(
        "", f"{text}: between number {below}, {low}, and number {below + 1}, {high}, at {part:.3g} of the way."
    )


def _station_lines(explanation: "Explanation", *, show_all: bool) -> Iterator[str]:
    shown, in_all = explanation.stations, explanation.stations_in_all
    if not shown:
        return
    if len(shown) < in_all:
        yield f"The {len(shown)} of {in_all:,} that were least often free; --all shows the others. Checks are of all."
    head = ["station", "points", "polls", "with a free one", "with a working one", "of these full"]
    rows = [
        [
            str(station.id_cs) if station.id_cs is not None else station.points[0],
            *(f"{n:,}" for n in (len(station.points), station.polls, station.polls_free, station.polls_working)),
            f"{station.polls_full:,}",
        ]
        for station in shown
    ]
    yield from _table(head, rows, right_from=1)
    if in_all > 1 and not show_all:
        yield "The polls of one of them, one by one: --station ID."
        return
    hashes = {poll.key: poll.sha256 for poll in explanation.polls}
    for station in shown:
        yield ""
        yield from _timeline_lines(station, hashes)


def _timeline_lines(station: "Station", hashes: Mapping[str, str]) -> Iterator[str]:
    yield f"Station {station.id_cs}: free points / points observed, poll by poll in each local hour."
    yield "! every working point is occupied (full); x none works"
    yield "local  UTC    polls  free  full"
    hours: dict[dt.datetime, list[str]] = {}
    counts: dict[dt.datetime, Counter[str]] = {}
    marks = {"free": "", "full": "!", "neither": "x"}
    for poll in station.timeline:
        hour = poll.query_time.replace(minute=0, second=0)
        observed = poll.free + poll.occupied + poll.fault
        hours.setdefault(hour, []).append(f"{poll.free}/{observed}{marks[poll.counts_as]}")
        counts.setdefault(hour, Counter())[poll.counts_as] += 1
    for hour, cells in hours.items():
        clock = f"{hour.astimezone(BERLIN):%H:%M}  {hour:%H:%M}"
        numbers = f"{len(cells):>5} {counts[hour]['free']:>5} {counts[hour]['full']:>5}"
        yield from _wrapped(f"{clock}  {numbers}  ", " ".join(f"{cell:<5}" for cell in cells).rstrip())
    keys = list(dict.fromkeys(key for poll in station.timeline for key in poll.polls))
    yield _seen_by(keys, hashes)


def _busiest_lines(explanation: "Explanation") -> Iterator[str]:
    busiest = explanation.busiest
    if busiest is None:
        return
    others = f", the first of {busiest.polls_as_busy} polls with as many" if busiest.polls_as_busy > 1 else ""
    yield f"{_stamp(busiest.query_time)}: {busiest.occupied:,} points occupied{others}"
    yield _seen_by(busiest.polls, {poll.key: poll.sha256 for poll in explanation.polls})
    yield from _wrapped("occupied: ", ", ".join(busiest.points))


def _event_lines(explanation: "Explanation") -> Iterator[str]:
    shown, in_all = explanation.events, explanation.events_in_all
    if not in_all:
        if any(check.level == "events" for check in explanation.checks):
            yield "No charging event ended on this day."
        return
    if len(shown) < in_all:
        yield f"{len(shown)} of {in_all:,}, those that matter most for it; --all shows the others. Checks are of all."
    yield from _quantile_lines(explanation)
    hashes = {poll.key: poll.sha256 for poll in explanation.polls}
    for event in shown:
        yield ""
        yield from _one_event(event, explanation, hashes)


def _quantile_lines(explanation: "Explanation") -> Iterator[str]:
    from charging_assets.reports.explanation import QUANTILES, shorter

    share, value, durations = QUANTILES.get(explanation.kpi), explanation.figure.value, explanation.durations
    if share is None or value is None:
        return
    whole, part = shorter(durations, value)
    yield from _wrapped(
        "",
        f"{share:g} * {len(durations):,} events = {share * len(durations):,.1f} are to be shorter. An event counts in "
        "part from duration - duration / (2 * polls) on, and as a whole from duration + duration / (2 * polls) on. At "
        f"{value:,} s {whole:,} count as a whole and others in part, these together as {part:.2f}.",
    )


def _one_event(event: "Event", explanation: "Explanation", hashes: Mapping[str, str]) -> Iterator[str]:
    rank = f", number {event.rank}" if event.rank and explanation.kpi.startswith("duration_") else ""
    gap = f", {event.gap_s:,} s of it in bridged gaps" if event.gap_s else ""
    kind = f"{event.power_class or 'power class not known'}, {event.status}"
    yield f"{click.style(event.id_cp, bold=True)}, {kind}: {event.duration_s:,} s{rank}{gap}"
    yield f"    {_stamp(event.start)} to"
    yield f"    {_stamp(event.end)}"
    if event.energy_kwh is not None and explanation.kpi.startswith("energy_"):
        band = f"band {event.energy_kwh_low:.3f} to {event.energy_kwh_high:.3f} kWh"
        yield f"    estimate: {event.energy_words} = {event.energy_kwh:.3f} kWh, {band}"
    yield from _wrapped("    ", "; ".join([_seen_by(event.polls, hashes), *event.flags]))


def _poll_lines(explanation: "Explanation", *, show_all: bool) -> Iterator[str]:
    by_feed: dict[tuple[str, str], list[Poll]] = {}
    for poll in explanation.polls:
        by_feed.setdefault((poll.source, poll.feed), []).append(poll)
    for (source, feed), polls in by_feed.items():
        outcomes = Counter(poll.outcome for poll in polls)
        counted = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
        yield f"feed {feed} of {source}: {len(polls):,} polls, {counted}"
        files = list(dict.fromkeys(poll.raw_file for poll in polls if poll.raw_file))
        if files:
            within = f"{len(files):,} files, the first is " if len(files) > 1 else ""
            yield f"  raw answers in {within}{files[0]}"
        if show_all:
            yield from _all_polls(polls)
        else:
            yield from _failed_polls(polls)
    verified = sum(poll.is_verified is True for poll in explanation.polls)
    if any(poll.is_verified is not None for poll in explanation.polls):
        yield f"SHA-256 computed again from the bodies: {verified:,} of {len(explanation.polls):,} equal"
    elif by_feed:
        yield "--verify reads the raw answers and computes their SHA-256 again; --all lists every poll."


def _failed_polls(polls: Sequence["Poll"]) -> Iterator[str]:
    failed = [poll for poll in polls if poll.outcome != "ok"]
    for poll in failed[:_FAILED]:
        text = f"{_clock(poll.query_time)} {poll.sha256[:_HASH]} {poll.outcome}: {poll.reason or 'no reason given'}"
        yield from _wrapped("  ", text)
    if len(failed) > _FAILED:
        yield f"  and {len(failed) - _FAILED:,} more; --all lists them"


def _all_polls(polls: Sequence["Poll"]) -> Iterator[str]:
    yield "  local time           UTC       outcome     file of the raw answer; below it its SHA-256"
    marks = {True: " (verified)", False: " (DIFFERS)", None: ""}
    for poll in polls:
        local = poll.query_time.astimezone(BERLIN)
        clock = f"{local:%Y-%m-%d %H:%M:%S}  {poll.query_time:%H:%M:%S}"
        yield f"  {clock}  {poll.outcome:<10}  {poll.raw_file or 'the lake has it no more'}"
        yield f"      {poll.sha256}{marks[poll.is_verified]}"
        if poll.reason:
            yield from _wrapped("      ", poll.reason)


def _check_lines(explanation: "Explanation", levels: Sequence[str]) -> Iterator[str]:
    """What was recomputed of a section, and what differs."""
    checks = [check for check in explanation.checks if check.level in levels]
    if not checks:
        return
    equal = [f"{check.what} {_number(check.stated)}" for check in checks if check.is_equal]
    yield ""
    if equal:
        mark = click.style("recomputed: equal", fg="green")
        lines = list(_wrapped("recomputed: equal - ", "; ".join(equal)))
        yield _INDENT + lines[0].replace("recomputed: equal", mark, 1)
        yield from (_INDENT + line for line in lines[1:])
    for check in checks:
        if not check.is_equal:
            stated, found = (_number(value) for value in (check.stated, check.recomputed))
            text = f"recomputed: DIFFERS - {check.what}: the level above says {stated}, this level gives {found}"
            yield from (_INDENT + click.style(line, fg="red") for line in _wrapped("", text))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right_from: int) -> Iterator[str]:
    """Columns as wide as they need to be; from `right_from` on aligned to the right."""
    lines = [head, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if number >= right_from else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _wrapped(label: str, text: str, indent: str = _INDENT) -> Iterator[str]:
    """A label and a text beside it."""
    lines = textwrap.wrap(text, _WIDTH - len(indent) - len(label), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines or [""]):
        yield (label if number == 0 else " " * len(label)) + line


def _seen_by(keys: Sequence[str], hashes: Mapping[str, str]) -> str:
    """The first and the last poll of several, each with its hash."""
    if not keys:
        return "no poll of the day saw it: it only reaches over midnight"
    ends = [f"{_clock(_time_in(key))} {hashes[key][:_HASH]}" for key in dict.fromkeys((keys[0], keys[-1]))]
    return f"{len(keys):,} poll{'' if len(keys) == 1 else 's'}: {' to '.join(ends)}"


def _time_in(key: str) -> dt.datetime:
    from charging_assets.calendar import parse_compact

    return parse_compact(key.partition("/")[0])


def _clock(time: dt.datetime) -> str:
    return f"{time.astimezone(BERLIN):%H:%M:%S}"


def _span(start: dt.datetime, end: dt.datetime, zone: dt.tzinfo) -> str:
    return f"{start.astimezone(zone):%H:%M:%S}-{end.astimezone(zone):%H:%M:%S}"


def _stamp(time: dt.datetime) -> str:
    """A time in both zones."""
    return f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M:%S} ({time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC)"


def _value(explanation: "Explanation") -> str:
    """The figure for people."""
    value, unit = explanation.figure.value, explanation.figure.unit
    if value is None:
        return f"no figure: {explanation.figure.hidden}" if explanation.figure.hidden else "no figure"
    if unit != "1":
        return f"{_number(value)} {unit}"
    return f"{value:.3f}" if explanation.kpi == "events_per_point_day" else f"{100 * value:.2f} %"


def _exact(explanation: "Explanation") -> str:
    """The figure with more digits, for whoever computes it again."""
    value = explanation.figure.value
    shown = _value(explanation)
    return f"{value:.8f} = {shown}" if isinstance(value, float) and explanation.figure.unit == "1" else shown


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
