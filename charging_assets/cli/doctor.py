"""`charging-assets doctor`: what is set, what works, and what to do about what does not."""

import datetime as dt
import difflib
import importlib.metadata
import os
import platform
import shutil
import textwrap
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from charging_assets import __version__
from charging_assets.calendar import today
from charging_assets.cli import demo
from charging_assets.cli.environment import open_lake, use_dagster_home
from charging_assets.settings import Settings, SettingsError, without_secrets

if TYPE_CHECKING:
    import pyarrow as pa

    from charging_assets.lake import Kind, Lake

FEEDS_AT_ONCE = 4
FEEDS_WITHIN_S = 120.0
HEARTBEAT_WITHIN_S = 300.0
"""A daemon writes one every 30 s; a busy machine may be late."""
SPACE_FAULT_BYTES, SPACE_WARN_BYTES = 200e6, 5e9
"""Less cannot take a day; less is a matter of weeks."""
DAYS_COMPARED = 7
"""Comparing a day with what it was made from takes up to 0.3 s."""
PACKAGES = ("dagster", "duckdb", "pyarrow")


class Finding(NamedTuple):
    """One thing that was looked at. What is not `ok` says what to do."""

    state: Literal["ok", "warn", "fault"]
    subject: str
    sentence: str


@click.command()
@click.option("--offline", is_flag=True, help="Do not ask the feeds.")
def doctor(offline: bool) -> None:
    """Look at settings, lake, warehouse, feeds, Dagster and versions; say what to do about each fault.

    All it sends anywhere is one request per feed. Exit code 1 if anything is a fault, 2 if a setting is wrong.
    """
    settings = Settings.from_env()
    faults = 0
    sections = {
        "Settings": _settings(settings),
        "Lake": _lake(settings),
        "Warehouse": _warehouse(settings),
        "Feeds": iter([Finding("ok", "feeds", "not asked (--offline)")]) if offline else _feeds(settings),
        "Dagster": _dagster(settings),
        "Versions": _versions(),
    }
    for title, findings in sections.items():
        click.echo(("" if title == "Settings" else "\n") + click.style(title, bold=True))
        faults += _print(list(findings))
    click.echo(f"\n{faults} fault{'' if faults == 1 else 's'} found." if faults else "\nNo faults found.")
    if faults:
        raise click.exceptions.Exit(1)


def _print(findings: Sequence[Finding]) -> int:
    """Print the findings of a section as three columns, the last one wrapped; returns how many are faults."""
    terminal = max(60, min(120, shutil.get_terminal_size().columns))
    subjects = max(len(finding.subject) for finding in findings)
    indent = " " * (2 + 7 + subjects + 2)
    for state, subject, sentence in findings:
        lines = textwrap.wrap(sentence, terminal - len(indent), break_long_words=False, break_on_hyphens=False)
        colour = {"ok": "green", "warn": "yellow", "fault": "red"}[state]
        text = f"\n{indent}".join(lines)
        click.echo(f"  {click.style(f'{state:<7}', fg=colour)}{subject:<{subjects}}  {text}")
    return sum(finding.state == "fault" for finding in findings)


def _settings(settings: Settings) -> Iterator[Finding]:
    values: Mapping[str, object] = {
        "CHARGING_ASSETS_HOME": settings.home,
        "CHARGING_ASSETS_LAKE": settings.lake,
        "DAGSTER_HOME": settings.dagster_home,
        "CHARGING_ASSETS_SOURCE": settings.source,
        "CHARGING_ASSETS_CHARGECLOUD_URL": without_secrets(settings.chargecloud_url),
        "CHARGING_ASSETS_FEEDS": f"{len(settings.feeds)} feeds",
        "CHARGING_ASSETS_INTERVAL_S": settings.interval_s,
        "CHARGING_ASSETS_FIRST_DATE": settings.first_date,
        "CHARGING_ASSETS_CONTACT": settings.contact or "none",
        "CHARGING_ASSETS_ACTIVE_DAYS": settings.active_days,
        "CHARGING_ASSETS_KEEP_LOGS_DAYS": settings.keep_logs_days,
        "CHARGING_ASSETS_ALERT_EMAIL": ", ".join(settings.alert_email) or "none",
        "CHARGING_ASSETS_ALERT_WEBHOOK": without_secrets(settings.alert_webhook) if settings.alert_webhook else "none",
        "CHARGING_ASSETS_SMTP_URL": without_secrets(settings.smtp_url) if settings.smtp_url else "none",
        "CHARGING_ASSETS_UI_URL": settings.ui_url or "none",
        "CHARGING_ASSETS_POI_SOURCE": settings.poi_source,
        "CHARGING_ASSETS_POI_CITIES": f"{len(settings.poi_cities)} cities",
        "CHARGING_ASSETS_POI_CATEGORIES": settings.poi_categories,
        "CHARGING_ASSETS_POI_RADIUS_M": settings.poi_radius_m or "that of each category",
        "CHARGING_ASSETS_OSM_PBF": without_secrets(settings.osm_pbf)
        if settings.osm_pbf and "://" in settings.osm_pbf
        else settings.osm_pbf or "none",
        "CHARGING_ASSETS_OVERPASS_URL": without_secrets(settings.overpass_url),
        "CHARGING_ASSETS_NOMINATIM_URL": without_secrets(settings.nominatim_url),
        "CHARGING_ASSETS_WAREHOUSE": settings.warehouse,
        "CHARGING_ASSETS_PUBLISH": "hourly" if settings.publish_hourly else "daily",
        "CHARGING_ASSETS_POSTGRES_DSN": "set, not shown" if settings.postgres_dsn else "none",
        **_redshift_settings(settings),
    }
    for name, value in values.items():
        is_set = bool(os.environ.get(name, "").strip())
        yield Finding("ok", name, f"{value} ({'environment' if is_set else 'default'})")
    if settings.contact is None:
        yield Finding(
            "warn",
            "contact",
            "set CHARGING_ASSETS_CONTACT to an e-mail address or URL, so that whoever runs the API can reach you",
        )
    for name in sorted(os.environ):
        if name.startswith("CHARGING_ASSETS_") and name not in values:
            near = difflib.get_close_matches(name, values, n=1)
            yield Finding(
                "warn",
                name,
                f"is not a setting{f'; {near[0]} is meant?' if near else ' of this version'}: nothing reads it",
            )


def _redshift_settings(settings: Settings) -> Mapping[str, object]:
    redshift, prefix = settings.redshift, "CHARGING_ASSETS_REDSHIFT_"
    if redshift is None:  # set or not, nothing reads them
        return {name: "not used" for name in sorted(os.environ) if name.startswith(prefix)}
    return {
        f"{prefix}HOST": redshift.host,
        f"{prefix}PORT": redshift.port,
        f"{prefix}DATABASE": redshift.database,
        f"{prefix}USER": redshift.user,
        f"{prefix}PASSWORD": "set, not shown" if redshift.password else "none: IAM is asked for short-lived ones",
        f"{prefix}IAM_ROLE": redshift.iam_role,
        f"{prefix}SSLMODE": redshift.sslmode,
        f"{prefix}SSLROOTCERT": redshift.sslrootcert or "Amazon's",
    }


def _warehouse(settings: Settings) -> Iterator[Finding]:
    from charging_assets.lake import LakeError
    from charging_assets.warehouse import WarehouseError, differences, warehouse_of

    if settings.warehouse == "duckdb":
        yield Finding("ok", "duckdb", "views over the lake: nothing to load")
        return
    lake = open_lake(settings)
    try:
        warehouse = warehouse_of(settings, lake)
        if changes := [step.what for step in warehouse.plan() if step.is_change]:
            yield Finding("fault", "schema", f"{len(changes)} changes to make: run `charging-assets migrate`")
            return
        yield Finding("ok", "schema", "as this version declares it")
        found = differences(lake, warehouse)
    except (LakeError, WarehouseError) as error:
        yield Finding("fault", settings.warehouse, str(error))
        return
    loadable = [one for one in found if one.why != "surplus"]
    if loadable:
        yield Finding("warn", "in step", f"{len(loadable):,} partitions are not loaded: run `charging-assets publish`")
    else:
        yield Finding("ok", "in step", "it has all partitions of the lake")
    if surplus := len(found) - len(loadable):
        yield Finding("warn", "surplus", f"{surplus:,} partitions are loaded that the lake has no more")


def _lake(settings: Settings) -> Iterator[Finding]:
    from charging_assets.lake import LakeError
    from charging_assets.model.tables import METADATA, is_dated

    lake = open_lake(settings)
    try:
        lake.check_writable()
        yield Finding("ok", "writable", settings.lake)
    except LakeError as error:
        yield Finding("fault", "writable", str(error))
    try:
        free = lake.free_bytes()
        if free is not None:
            state: Literal["ok", "warn", "fault"] = (
                "fault" if free < SPACE_FAULT_BYTES else "warn" if free < SPACE_WARN_BYTES else "ok"
            )
            advice = "" if state == "ok" else ": free some, or move the lake (CHARGING_ASSETS_LAKE) to a larger disk"
            yield Finding(state, "space", f"{free / 1e9:,.1f} GB left{advice}")
        yield from _killed_polls(settings)
        raw = lake.raw.dates()
        yield Finding(
            "ok",
            "raw answers",
            f"{_days(len(raw))}, {raw[0]} to {raw[-1]}"
            if raw
            else "none yet: `charging-assets poll` or `charging-assets import-raw FILE…`",
        )
        partitions = [date for date in raw if settings.first_date <= date <= today()]
        if outside := len(raw) - len(partitions):
            yield Finding(
                "warn",
                "out of range",
                f"{_days(outside)} of raw answers before {settings.first_date} (CHARGING_ASSETS_FIRST_DATE) or after "
                "today are kept and cannot be built",
            )
        missing: set[dt.date] = set()
        for table in METADATA.tables.values():
            if table.info["group"] == "raw":
                continue
            if is_dated(table):
                dates = lake.partitions(table.name)
                missing.update(set(partitions) - set(dates))
                count = f"{_days(len(dates))}, {dates[0]} to {dates[-1]}" if dates else "no days yet"
            else:
                info = lake.info(table.name, None)
                count = f"{info.rows:,} rows" if info else "not made yet"
            yield Finding("ok", table.name, count)
        if missing:
            yield Finding(
                "warn",
                "not built",
                f"{_days(len(missing))} of raw answers: "
                f"`charging-assets build --from {min(missing)} --to {max(missing)}`",
            )
        yield from _lost_days(lake, raw)
        yield from _changed_days(lake, partitions, missing)
    except LakeError as error:
        yield Finding("fault", "readable", str(error))


def _killed_polls(settings: Settings) -> Iterator[Finding]:
    """Answers that are in no raw file yet, because their poll was killed or could not write the lake."""
    from charging_assets.lake import LakeError
    from charging_assets.lake.spool import SUFFIX, SpoolFile

    for path in sorted((settings.home / "spool").glob(f"*{SUFFIX}")):
        try:
            spool = SpoolFile.take_over(path)
        except LakeError as error:
            yield Finding("fault", "killed poll", str(error))
            continue
        if spool is None:  # under way
            continue
        spool.close()
        advice = "the next `charging-assets poll` publishes them"
        if spool.lake != settings.lake:
            advice = f"they belong to another lake; poll once with CHARGING_ASSETS_LAKE={spool.lake}"
        count = len(spool.answers)
        yield Finding(
            "warn",
            "killed poll",
            f"{count:,} answer{'' if count == 1 else 's'} of {spool.poll.query_time:%Y-%m-%d %H:%M} UTC "
            f"wait{'s' if count == 1 else ''} in {path}: {advice}",
        )


def _lost_days(lake: "Lake", raw: Sequence[dt.date]) -> Iterator[Finding]:
    """Days that were polled and built, and have no raw answers any more."""
    gone = sorted(set(lake.partitions("poll_log")).difference(raw))
    if lost := [date for date in gone if (info := lake.info("poll_log", date)) and info.rows]:
        named = ", ".join(map(str, lost[:DAYS_COMPARED])) + (" …" if len(lost) > DAYS_COMPARED else "")
        yield Finding(
            "warn",
            "lost days",
            f"{_days(len(lost))} of poll_log without any raw answers ({named}): their figures can no longer be "
            f"verified or computed again; restore their folders {lake.uri}/raw/query_date=… from a backup",
        )


def _changed_days(lake: "Lake", raw: Sequence[dt.date], missing: Collection[dt.date]) -> Iterator[Finding]:
    """Days made from something else than there is now, as the night finds them; of all days this would take minutes.

    Args:
        lake: whose days.
        raw: days with raw answers that can be built.
        missing: those of them that lack a table, which is told elsewhere.
    """
    from charging_assets.derive.inputs import stale_dates

    logged = set(raw).intersection(lake.partitions("poll_log"))
    latest = sorted(logged - {today()})[-DAYS_COMPARED:]
    stale = stale_dates(lake, latest)
    lost = {date: count for date in stale if (count := _lost_answers(lake, date))}
    if lost:
        named = ", ".join(f"{count:,} of {date}" for date, count in lost.items())
        yield Finding(
            "warn",
            "lost answers",
            f"poll_log has answers that are in no raw file any more: {named}. Restore {lake.uri}/raw/query_date=… "
            "from a backup before anything is built: building makes the tables from what is left, and the night "
            "schedule does so unasked",
        )
    built = [date for date in latest if date not in missing]
    if changed := [date for date in built if date in stale]:
        # What is built again changes what later days are made from; build leaves alone what is not concerned.
        last, first_of_all = max(logged.difference(missing)), "when the lost answers are back, " if lost else ""
        yield Finding(
            "warn",
            "up to date",
            f"{_days(len(changed))} of the last {len(built)} {'was' if len(changed) == 1 else 'were'} made from "
            "something else than there is now, or by another version: "
            f"{first_of_all}`charging-assets build --from {changed[0]} --to {last}`",
        )
    elif built:
        yield Finding("ok", "up to date", f"the last {_days(len(built))} before today")


def _lost_answers(lake: "Lake", date: dt.date) -> int:
    """How many answers the day was built from that no raw file has any more."""
    from charging_assets.lake import LakeError

    key = ["query_time", "source", "feed", "sha256"]
    try:
        log = lake.read("poll_log", date, key)
    except LakeError:  # damaged or of another version: building is what mends it
        return 0
    kept = lake.raw.index(date).select(key)
    return len(_rows(log) - _rows(kept))


def _rows(table: "pa.Table") -> set[tuple[Any, ...]]:
    return set(zip(*table.to_pydict().values(), strict=True))


def _feeds(settings: Settings) -> Iterator[Finding]:
    from rich.console import Console
    from rich.progress import track

    from charging_assets.lake import Kind
    from charging_assets.sources import ChargecloudSource, FeedState, feed_state

    held = _held(settings)
    if held is not None and not held.goes_with(Kind.of_source(settings.source)):
        yield Finding("ok", "feeds", f"not asked: the lake holds {held}, and nothing of theirs may be put there")
        return
    source = ChargecloudSource.from_settings(settings)
    deadline = time.monotonic() + FEEDS_WITHIN_S

    def ask(feed: str) -> tuple[str, FeedState]:
        return feed, feed_state(source.fetch(feed, deadline))

    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    console = Console(stderr=True)
    with ThreadPoolExecutor(FEEDS_AT_ONCE) as pool:
        answers = pool.map(ask, source.feeds)
        for feed, (state, sentence) in track(
            answers,
            "  asking the feeds",
            len(source.feeds),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            found[state, "" if state == "alive" else sentence.rstrip(".")].append(feed)
    if not any(state == "alive" for state, _ in found):
        yield Finding(
            "fault",
            "feeds",
            f"none of {len(source.feeds)} is alive: check the network, HTTPS_PROXY and CHARGING_ASSETS_CHARGECLOUD_URL",
        )
    for (group, sentence), feeds in sorted(found.items()):
        names = f"{len(feeds)} feed{'' if len(feeds) == 1 else 's'}: {', '.join(feeds)}"
        if group == "alive":
            yield Finding("ok", group, names)
        else:
            them = "it" if len(feeds) == 1 else "them"
            advice = f"if it stays so, take {them} out of CHARGING_ASSETS_FEEDS"
            yield Finding("warn", group, f"{names} ({sentence}): {advice}")


def _held(settings: Settings) -> "Kind | None":
    """What the lake holds; None where nobody knows."""
    from charging_assets.lake import LakeError

    with suppress(LakeError):  # which is told of the lake
        return open_lake(settings).raw.kind()
    return None


def _dagster(settings: Settings) -> Iterator[Finding]:
    home = settings.dagster_home
    is_new = not home.exists()
    try:
        use_dagster_home(settings)
    except SettingsError as error:
        yield Finding("fault", "home", str(error))
        return
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding("fault", "home", f"{home} cannot be written: give this user the right to, or set DAGSTER_HOME")
        return
    yield Finding("ok", "home", f"{home} is writable{', made just now' if is_new else ''}")
    yield _daemon(settings)


def _daemon(settings: Settings) -> Finding:
    try:
        from dagster import DagsterInstance

        with DagsterInstance.get() as instance:
            beats = [status.timestamp for status in instance.get_daemon_heartbeats().values()]
            scheduled = [state.name for state in instance.all_instigator_state() if state.is_running]
    except Exception as error:  # noqa: BLE001 - whatever keeps Dagster from opening its storage is a finding
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return Finding(
            "fault", "daemon", f"Dagster's storage cannot be opened: {reason[0]} (see dagster.yaml in DAGSTER_HOME)"
        )
    age = time.time() - max(beats, default=0)
    if age <= HEARTBEAT_WITHIN_S:
        return Finding("ok", "daemon", f"running, last heartbeat {age:.0f} s ago")
    seen = (
        f"last seen {time.strftime('%Y-%m-%d %H:%M', time.gmtime(max(beats)))} UTC" if beats else "has never run here"
    )
    held = _held(settings)
    if settings.home.name == demo.HOME and held is not None and held.kind == "simulated":
        return Finding(
            "warn",
            "daemon",
            f"{seen}; the demo brings its own: run `charging-assets demo` again in {settings.home.parent}",
        )
    start = "start it with `dagster dev` (or `dagster-daemon run`), DAGSTER_HOME exported"
    if scheduled:
        return Finding(
            "fault", "daemon", f"{seen}, but {', '.join(sorted(scheduled))} should be running and is not: {start}"
        )
    return Finding("warn", "daemon", f"{seen}; schedules and backfills need it: {start}")


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "charging_assets", __version__)
    yield Finding("ok", "python", platform.python_version())
    for package in PACKAGES:
        try:
            yield Finding("ok", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fault", package, "is not installed: pip install -c constraints.txt .")


def _days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"
