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
    from charging_assets.reports.explanation import Event, Explanation, Interval, Poll, Station, Unobserved

_WIDTH = 100
_INDENT = " " * 3
_HASH = 12
"""So many hex digits of a hash are shown where it is not asked for in full."""
_FAILED = 10
"""So many polls that gave nothing usable are named one by one."""
_LETTERS = {"occupied": "B", "free": "F", "fault": "X", "gone": "", "unknown": "U"}
_MARKS = {"free": "", "full": "!", "neither": "x"}


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
        click.echo("\n".join(_Text(explanation, show_all=show_all).lines()))
    if not explanation.is_sound:
        wrong = sum(not check.is_equal for check in explanation.checks)
        raise click.ClickException(
            f"{wrong} of {len(explanation.checks)} comparisons differ: this figure is not sound."
        )


class _Text:
    """An explanation as text of at most 100 columns, but for paths and names. Each section has a method."""

    def __init__(self, explanation: "Explanation", *, show_all: bool) -> None:
        self.told, self.show_all = explanation, show_all
        self.hashes = {poll.key: poll.sha256 for poll in explanation.polls}

    def lines(self) -> Iterator[str]:
        """All of it."""
        told = self.told
        name = f" ({told.name})" if told.name and told.name != told.scope_id else ""
        scope = f"{told.scope.replace('_', ' ')} {told.scope_id}{name}"
        yield click.style(f"{told.kpi} of {scope} on {told.query_date:%A, %Y-%m-%d}: {self._value()}", bold=True)
        sections = [
            ("The figure", ("figure",), self._figure()),
            ("The hours", ("hours",), self._hours()),
            ("The stations", ("stations",), self._stations()),
            ("The busiest poll", ("busiest",), self._busiest()),
            ("The events", ("events",), self._events()),
            ("The charging points", ("points",), self._points()),
            ("The intervals of each point", ("intervals",), self._intervals()),
            ("The polls and their raw answers", ("polls", "answers"), self._polls()),
        ]
        filled = [(heading, levels, shown) for heading, levels, lines in sections if (shown := list(lines))]
        for number, (heading, levels, shown) in enumerate(filled, 1):
            yield f"\n{click.style(f'{number}. {heading}', bold=True)}"
            yield from (_INDENT + line if line else "" for line in shown)
            yield from self._checks(levels)
        for note in told.notes:
            yield ""
            yield from _wrapped("Note: ", note, "")

    def _figure(self) -> Iterator[str]:
        told, figure, provenance = self.told, self.told.figure, self.told.provenance
        indent = " " * len(told.kpi)
        yield from _wrapped(f"{told.kpi} = ", figure.words)
        if figure.symbols and figure.numbers:
            if figure.symbols != figure.words:
                yield f"{indent} = {figure.symbols}"
            yield f"{indent} = {figure.numbers}"
        is_ratio = isinstance(figure.value, float) and figure.unit == "1"
        yield f"{indent} = {f'{figure.value:.8f} = ' if is_ratio else ''}{self._value()}"
        if any(letter in (figure.symbols or "") for letter in "BFXOU") or told.kpi.removesuffix("_s") in _LETTERS:
            yield "B occupied, F free, X out of order, U unknown; observed O = B + F + X, in seconds of all points"
        yield from figure.coverages
        yield ""
        hours = (told.until - told.start).total_seconds() / 3600
        version = provenance.method_version or "of that version of the code"
        if figure.doc != figure.words:
            yield from _wrapped("meaning    ", figure.doc)
        yield from _wrapped("day        ", f"{_stamp(told.start)} to {_stamp(told.until)}, {hours:.4g} hours")
        yield f"file       {provenance.file}"
        yield f"inputs     {provenance.inputs}"
        yield f"           ({'' if provenance.is_current else 'NOT '}the tables that there are now)"
        yield f"made by    charging_assets {provenance.code_version}, method version {version} (docs/method.md)"

    def _hours(self) -> Iterator[str]:
        if not self.told.hours:
            return
        rows = []
        for hour in self.told.hours:
            observed = sum(hour.seconds[kind] for kind in ("occupied", "free", "fault"))
            share = "-" if hour.utilization is None else f"{100 * hour.utilization:.3f} %"
            clocks = (f"{hour.hour_utc.astimezone(BERLIN):%H:%M}", f"{hour.hour_utc:%H:%M}")
            rows.append([*clocks, f"{hour.seconds['occupied']:,}", f"{observed:,}", share])
        yield from _table(["local", "UTC", "occupied B", "observed O", "B / O"], rows, right_from=0)
        ratios = sorted(hour.utilization for hour in self.told.hours if hour.utilization is not None)
        if ratios:
            place = 0.95 * (len(ratios) - 1)
            below, part = int(place), place - int(place)
            low, high = (f"{100 * ratios[at]:.3f} %" for at in (below, min(below + 1, len(ratios) - 1)))
            yield from _wrapped(
                "",
                f"Of {len(ratios)} hours from the least to the most, place 0.95 * ({len(ratios)} - 1) + 1 = "
                f"{place + 1:g}: between number {below + 1}, {low}, and the next, {high}, at {part:.3g} of the way.",
            )

    def _stations(self) -> Iterator[str]:
        shown, in_all = self.told.stations, self.told.stations_in_all
        if not shown:
            return
        if len(shown) < in_all:
            yield (
                f"The {len(shown)} of {in_all:,} that were least often free; --all shows the others. Checks are of all."
            )
        rows = [
            [
                str(station.id_cs) if station.id_cs is not None else station.points[0],
                *(f"{n:,}" for n in (len(station.points), station.polls, station.polls_free, station.polls_working)),
                f"{station.polls_full:,}",
            ]
            for station in shown
        ]
        head = ["station", "points", "polls", "with a free one", "with a working one", "of these full"]
        yield from _table(head, rows, right_from=1)
        if in_all > 1 and not self.show_all:
            yield "The polls of one of them, one by one: --station ID."
            return
        for station in shown:
            yield ""
            yield from self._timeline(station)

    def _timeline(self, station: "Station") -> Iterator[str]:
        yield f"Station {station.id_cs}: free points / points observed, poll by poll in each local hour."
        yield "! every working point is occupied (full); x none works"
        yield "local  UTC    polls  free  full"
        hours: dict[dt.datetime, list[str]] = {}
        counts: dict[dt.datetime, Counter[str]] = {}
        for poll in station.timeline:
            hour = poll.query_time.replace(minute=0, second=0)
            observed = poll.free + poll.occupied + poll.fault
            hours.setdefault(hour, []).append(f"{poll.free}/{observed}{_MARKS[poll.counts_as]}")
            counts.setdefault(hour, Counter())[poll.counts_as] += 1
        for hour, cells in hours.items():
            numbers = f"{len(cells):>5} {counts[hour]['free']:>5} {counts[hour]['full']:>5}"
            label = f"{hour.astimezone(BERLIN):%H:%M}  {hour:%H:%M}  {numbers}  "
            yield from _wrapped(label, " ".join(f"{cell:<5}" for cell in cells).rstrip())
        yield self._seen_by(list(dict.fromkeys(key for poll in station.timeline for key in poll.polls)))

    def _busiest(self) -> Iterator[str]:
        busiest = self.told.busiest
        if busiest is None:
            return
        others = f", the first of {busiest.polls_as_busy} polls with as many" if busiest.polls_as_busy > 1 else ""
        yield f"{_stamp(busiest.query_time)}: {busiest.occupied:,} points occupied{others}"
        yield self._seen_by(busiest.polls)
        yield from _wrapped("occupied: ", ", ".join(busiest.points))

    def _events(self) -> Iterator[str]:
        shown, in_all = self.told.events, self.told.events_in_all
        if not in_all:
            if any(check.level == "events" for check in self.told.checks):
                yield "No charging event ended on this day."
            return
        if len(shown) < in_all:
            yield (
                f"{len(shown)} of {in_all:,}, those that matter most for it; --all shows the others. Checks are of all."
            )
        yield from self._quantile()
        for event in shown:
            yield ""
            yield from self._event(event)

    def _quantile(self) -> Iterator[str]:
        from charging_assets.reports.explanation import QUANTILES, shorter

        share, value, durations = QUANTILES.get(self.told.kpi), self.told.figure.value, self.told.durations
        if share is None or value is None:
            return
        whole, part = shorter(durations, value)
        yield from _wrapped(
            "",
            f"{share:g} * {len(durations):,} events = {share * len(durations):,.1f} are to be shorter. An event counts "
            "in part from duration - duration / (2 * polls) on, and as a whole from duration + duration / (2 * polls) "
            f"on; of a range that would do, it is the middle. At {value:,} s {whole:,} count as a whole and others in "
            f"part, these together as {part:.2f}.",
        )

    def _event(self, event: "Event") -> Iterator[str]:
        rank = f", number {event.rank}" if event.rank and self.told.kpi.startswith("duration_") else ""
        gap = f", {event.gap_s:,} s of it in bridged gaps" if event.gap_s else ""
        kind = f"{event.power_class or 'power class not known'}, {event.status}"
        yield f"{click.style(event.id_cp, bold=True)}, {kind}: {event.duration_s:,} s{rank}{gap}"
        yield f"    {_stamp(event.start)} to"
        yield f"    {_stamp(event.end)}"
        if event.energy_kwh is not None and self.told.kpi.startswith("energy_"):
            band = f"band {event.energy_kwh_low:.3f} to {event.energy_kwh_high:.3f} kWh"
            yield f"    estimate: {event.energy_words} = {event.energy_kwh:.3f} kWh, {band}"
        yield from _wrapped("    ", "; ".join([self._seen_by(event.polls), *event.flags]))

    def _points(self) -> Iterator[str]:
        shown, in_all, totals = self.told.points, self.told.points_in_all, self.told.totals
        rows = [
            [point.id_cp, point.power_class or "not known", *(f"{point.seconds[kind]:,}" for kind in _LETTERS)]
            for point in shown
        ]
        if len(shown) < in_all:
            yield f"{len(shown)} of {in_all:,}; --all shows the others too. Sums and checks are of all."
            others = [f"{totals[kind] - sum(point.seconds[kind] for point in shown):,}" for kind in _LETTERS]
            rows.append([f"{in_all - len(shown):,} others", "", *others])
        rows.append(["seconds in all", "", *(f"{totals[kind]:,}" for kind in _LETTERS)])
        head = ["charging point", "power class", *(f"{kind} {letter}".strip() for kind, letter in _LETTERS.items())]
        yield from _table(head, rows, right_from=2)
        open_rows = [
            [point.id_cp, point.opening_hours, *("-" if s is None else f"{s:,}" for s in point.open_seconds.values())]
            for point in shown
            if point.opening_hours
        ]
        if open_rows:
            yield ""
            head = ["charging point", "open (local time)", "occupied", "observed", "unknown while open"]
            yield from _table(head, open_rows, right_from=2)

    def _intervals(self) -> Iterator[str]:
        if not any(point.intervals or point.unobserved for point in self.told.points):
            return
        yield from _wrapped(
            "",
            "A status holds around its poll: bounds lie midway between two polls, at most 0.75 poll from each. Beside "
            "each poll: the first digits of the SHA-256 of its raw answer.",
        )
        for point in self.told.points:
            yield ""
            yield click.style(point.id_cp, bold=True) + f", feed {point.feed}"
            yield f"local time         UTC                status      {''.join(f'{kind:>9}' for kind in _LETTERS)}"
            spans: list[Interval | Unobserved] = [*point.intervals, *point.unobserved]
            for span in sorted(spans, key=lambda span: span.start):
                yield from self._interval(span)
            yield f"{'seconds in all':<50}{_cells(point.seconds)}"

    def _interval(self, span: "Interval | Unobserved") -> Iterator[str]:
        """An interval, or time in none: its seconds in the columns that they count in, and below that the reasons."""
        from charging_assets.reports.explanation import Interval

        clocks = f"{_span(span.start, span.end, BERLIN)}  {_span(span.start, span.end, dt.UTC)}"
        if not isinstance(span, Interval):
            yield f"{clocks}  {'no interval':<12}{_cells({'unknown': span.seconds})}"
            for reason in span.reasons:
                yield from _wrapped("    ", reason)
            return
        seconds = Counter({span.counts_as: span.seconds - span.gap_s})
        seconds["unknown"] += span.gap_s
        yield f"{clocks}  {span.status or '(none)':<12}{_cells(seconds)}"
        yield from _wrapped("    ", "; ".join([self._seen_by(span.polls), *span.flags]))
        for gap in span.gaps:
            why = "; ".join(gap.reasons)
            yield from _wrapped("    ", f"{gap.seconds:,} s unknown, {_span(gap.start, gap.end, BERLIN)}: {why}")

    def _polls(self) -> Iterator[str]:
        by_feed: dict[tuple[str, str], list[Poll]] = {}
        for poll in self.told.polls:
            by_feed.setdefault((poll.source, poll.feed), []).append(poll)
        for (source, feed), polls in by_feed.items():
            outcomes = Counter(poll.outcome for poll in polls).most_common()
            counted = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes)
            yield f"feed {feed} of {source}: {len(polls):,} polls, {counted}"
            files = list(dict.fromkeys(poll.raw_file for poll in polls if poll.raw_file))
            if files:
                within = f"{len(files):,} files, the first is " if len(files) > 1 else ""
                yield f"  raw answers in {within}{files[0]}"
            yield from _every(polls) if self.show_all else _failed(polls)
        if any(poll.is_verified is not None for poll in self.told.polls):
            verified = sum(poll.is_verified is True for poll in self.told.polls)
            yield f"SHA-256 computed again from the bodies: {verified:,} of {len(self.told.polls):,} equal"
        elif by_feed:
            yield "--verify reads the raw answers and computes their SHA-256 again; --all lists every poll."

    def _checks(self, levels: Sequence[str]) -> Iterator[str]:
        """What was recomputed of a section, and what differs."""
        checks = [check for check in self.told.checks if check.level in levels]
        if checks:
            yield ""
        if equal := [f"{check.what} {_number(check.stated)}" for check in checks if check.is_equal]:
            mark = "recomputed: equal"
            first, *others = _wrapped(f"{mark} - ", "; ".join(equal))
            yield _INDENT + first.replace(mark, click.style(mark, fg="green"), 1)
            yield from (_INDENT + line for line in others)
        for check in checks:
            if not check.is_equal:
                stated, found = _number(check.stated), _number(check.recomputed)
                text = f"recomputed: DIFFERS - {check.what}: the level above says {stated}, this level gives {found}"
                yield from (_INDENT + click.style(line, fg="red") for line in _wrapped("", text))

    def _seen_by(self, keys: Sequence[str]) -> str:
        """The first and the last poll of several, each with its hash."""
        if not keys:
            return "no poll of the day saw it: it only reaches over midnight"
        ends = [self._poll(key) for key in dict.fromkeys((keys[0], keys[-1]))]
        return f"{len(keys):,} poll{'' if len(keys) == 1 else 's'}: {' to '.join(ends)}"

    def _poll(self, key: str) -> str:
        from charging_assets.calendar import parse_compact

        time = parse_compact(key.partition("/")[0]).astimezone(BERLIN)
        return f"{time:%H:%M:%S} {self.hashes[key][:_HASH]}"

    def _value(self) -> str:
        """The figure for people."""
        figure = self.told.figure
        if figure.value is None:
            return f"no figure: {figure.hidden}" if figure.hidden else "no figure"
        if figure.unit != "1":
            return f"{_number(figure.value)} {figure.unit}"
        return f"{figure.value:.3f}" if self.told.kpi == "events_per_point_day" else f"{100 * figure.value:.2f} %"


def _failed(polls: Sequence["Poll"]) -> Iterator[str]:
    failed = [poll for poll in polls if poll.outcome != "ok"]
    for poll in failed[:_FAILED]:
        time, reason = poll.query_time.astimezone(BERLIN), poll.reason or "no reason given"
        yield from _wrapped("  ", f"{time:%H:%M:%S} {poll.sha256[:_HASH]} {poll.outcome}: {reason}")
    if len(failed) > _FAILED:
        yield f"  and {len(failed) - _FAILED:,} more; --all lists them"


def _every(polls: Sequence["Poll"]) -> Iterator[str]:
    yield "  local time           UTC       outcome     file of the raw answer; below it its SHA-256"
    marks = {True: " (verified)", False: " (DIFFERS)", None: ""}
    for poll in polls:
        clocks = f"{poll.query_time.astimezone(BERLIN):%Y-%m-%d %H:%M:%S}  {poll.query_time:%H:%M:%S}"
        yield f"  {clocks}  {poll.outcome:<10}  {poll.raw_file or 'the lake has it no more'}"
        yield f"      {poll.sha256}{marks[poll.is_verified]}"
        if poll.reason:
            yield from _wrapped("      ", poll.reason)


def _cells(seconds: Mapping[str, int]) -> str:
    """A column of seconds for each kind, empty where there are none."""
    return "".join(f"{seconds[kind]:>9,}" if seconds.get(kind) else " " * 9 for kind in _LETTERS).rstrip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right_from: int) -> Iterator[str]:
    """Columns as wide as they need to be; from `right_from` on aligned to the right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [f"{cell:{'>' if at >= right_from else '<'}{widths[at]}}" for at, cell in enumerate(line)]
        yield "  ".join(cells).rstrip()


def _wrapped(label: str, text: str, indent: str = _INDENT) -> Iterator[str]:
    """A label and a text beside it."""
    lines = textwrap.wrap(text, _WIDTH - len(indent) - len(label), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines or [""]):
        yield (label if number == 0 else " " * len(label)) + line


def _span(start: dt.datetime, end: dt.datetime, zone: dt.tzinfo) -> str:
    return f"{start.astimezone(zone):%H:%M:%S}-{end.astimezone(zone):%H:%M:%S}"


def _stamp(time: dt.datetime) -> str:
    """A time in both zones."""
    return f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M:%S} ({time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC)"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
