"""`charging-assets simulate`: a simulated Germany, to try things on and to measure against."""

import datetime as dt
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from charging_assets.calendar import day_bounds, today, utc_now
from charging_assets.cli.environment import open_lake
from charging_assets.cli.progress import progress_bar
from charging_assets.settings import Settings

SEED = 1

_DATE = click.DateTime(["%Y-%m-%d"])
_seed = click.option("--seed", type=click.IntRange(0), default=SEED, show_default=True, help="Of everything random.")


def _made(_context: click.Context, _option: click.Parameter, folder: Path | None) -> Path | None:
    """Make the folder at once: it is written when all work is done, hours later for a server."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.BadParameter(f"{folder} cannot be made: {error.strerror}") from error
    return folder


_truth = click.option(
    "--truth",
    type=click.Path(file_okay=False, writable=True, path_type=Path),
    callback=_made,
    help="Write what really happened into this folder: sessions, faults, freezes, master changes, as Parquet.",
)


@click.group()
def simulate() -> None:
    """A simulated Germany: 38 feeds that answer like chargecloud, with known ground truth.

    The same --seed gives the same world, to the byte, for all histories that begin in the same year.
    """


def _span(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both kinds of past have."""
    for option in (
        _seed,
        click.option(
            "--interval",
            "interval_s",
            metavar="SECONDS",
            type=click.IntRange(10, 3600),
            help="Between two polls; CHARGING_ASSETS_INTERVAL_S by default.",
        ),
        click.option("--end", metavar="DATE", type=_DATE, help="The last date, as YYYY-MM-DD; today by default."),
        click.option("--days", type=click.IntRange(1, 731), required=True, help="How many query dates."),
    ):
        command = option(command)
    return command


@simulate.command()
@_span
@click.option(
    "--missing",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of the answers that do not come, or not well.",
)
@_truth
def history(
    days: int, end: dt.datetime | None, interval_s: int | None, seed: int, missing: float, truth: Path | None
) -> None:
    """Fill the lake with the raw answers of simulated polls, up to now at the latest, and with points of interest.

    A week takes about 20 seconds and 80 MB of disk. Polls that the lake holds already are not written again; points of
    interest come once, as a refresh at the beginning of the first date.
    """
    from charging_assets.simulator import Simulation, epoch_of, make_world, write_history, write_pois, write_truth

    settings, dates, now = Settings.from_env(), _dates(days, end), utc_now()
    lake = open_lake(settings)
    started = time.monotonic()
    simulation = Simulation(make_world(seed, epoch_of(dates[0])))
    with progress_bar():
        made = write_history(
            simulation,
            lake,
            dates,
            interval_s=interval_s or settings.interval_s,
            missing=missing,
            until=now,
        )
    click.echo(
        f"{made.polls:,} polls of {len(simulation.world.feeds)} feeds from {dates[0]} to {dates[-1]}: {made.answers:,} "
        f"answers ({made.json_bytes / 1e9:.2f} GB of JSON), {made.missing:,} missing, in "
        f"{time.monotonic() - started:.1f} s"
    )
    if features := write_pois(simulation.world, lake, day_bounds(dates[0])[0]):
        click.echo(f"{features:,} points of interest in {len(simulation.world.feeds)} towns")
    if truth is not None:
        rows = write_truth(simulation, truth, day_bounds(dates[0])[0], min(now, day_bounds(dates[-1])[1]))
        _print_truth(truth, rows)


@simulate.command()
@_span
def facts(days: int, end: dt.datetime | None, interval_s: int | None, seed: int) -> None:
    """Fill the tables status_chargingpoints and status_connectors without raw answers: years, to query.

    A year takes about 2 minutes. The tables cannot be built again, so give them a lake of their own
    (CHARGING_ASSETS_LAKE).
    """
    from charging_assets.simulator import Simulation, epoch_of, make_world, write_facts

    settings, dates = Settings.from_env(), _dates(days, end)
    lake = open_lake(settings)
    if lake.raw.dates():
        raise click.ClickException(
            f"{lake.uri} has raw answers, whose tables would be replaced: set CHARGING_ASSETS_LAKE to an empty folder."
        )
    started = time.monotonic()
    simulation = Simulation(make_world(seed, epoch_of(dates[0])))
    rows: Counter[str] = Counter()
    size: Counter[str] = Counter()
    with progress_bar():
        for made in write_facts(simulation, lake, dates, interval_s=interval_s or settings.interval_s):
            rows[made.table] += made.rows
            size[made.table] += made.bytes
    for table, count in rows.items():
        click.echo(f"{table}: {count:,} rows, {size[table] / 1e6:,.1f} MB")
    click.echo(f"{len(dates):,} days from {dates[0]} to {dates[-1]} in {time.monotonic() - started:.1f} s")


def _fault_pairs(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> Mapping[str, str]:
    pairs = [text.partition("=") for text in given]
    if any(not feed or not kind for feed, _, kind in pairs):
        raise click.BadParameter("expected FEED=KIND, e.g. koeln=http_500")
    return {feed: kind for feed, _, kind in pairs}


@simulate.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--speed",
    type=click.FloatRange(0, 3600, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds of simulated time per second, beginning now.",
)
@click.option(
    "--from",
    "first",
    metavar="DATE",
    type=_DATE,
    help="The first date of the history that this goes on with, as YYYY-MM-DD; today by default.",
)
@_seed
@click.option(
    "--fault",
    "faults",
    metavar="FEED=KIND",
    multiple=True,
    callback=_fault_pairs,
    help="Have a feed fail from the beginning on: http_500, html, truncated, slow, unknown, frozen, mostly_frozen or "
    "mass_reset. May be given for several feeds.",
)
@_truth
def serve(
    port: int,
    speed: float,
    first: dt.datetime | None,
    seed: int,
    faults: Mapping[str, str],
    truth: Path | None,
) -> None:
    """Answer on 127.0.0.1 like chargecloud, until Ctrl-C.

    To poll it, set CHARGING_ASSETS_SOURCE=simulator and CHARGING_ASSETS_CHARGECLOUD_URL to the URL it prints, with a
    CHARGING_ASSETS_HOME of its own. While it runs, feeds fail and recover by

    \b
        curl -d '{"feed": "koeln", "fault": "frozen"}' http://127.0.0.1:8000/_faults
        curl -X DELETE http://127.0.0.1:8000/_faults/koeln
    """  # noqa: D301 - click takes the backspace itself as its mark for text that is not to be wrapped
    from charging_assets.simulator import SimulatedServer, Simulation, epoch_of, make_world

    simulation = Simulation(make_world(seed, epoch_of(first.date() if first else today())))
    try:
        server = SimulatedServer(simulation, port, speed=speed, faults=faults)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    except OSError as error:
        raise click.ClickException(
            f"Port {port} of 127.0.0.1 cannot be used ({os.strerror(error.errno or 0).lower()}): end what listens "
            "there, or choose another with --port."
        ) from error
    is_over = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: is_over.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with server:
            click.echo(f"{len(simulation.world.feeds)} simulated feeds at {server.url}/<feed>, until Ctrl-C")
            is_over.wait()
        if truth is not None:
            _print_truth(truth, server.write_truth(truth))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _print_truth(folder: Path, rows: Mapping[str, int]) -> None:
    click.echo(f"ground truth in {folder}: " + ", ".join(f"{count:,} {name}" for name, count in rows.items()))


def _dates(days: int, end: dt.datetime | None) -> Sequence[dt.date]:
    last = end.date() if end else today()
    if last > today():
        raise click.UsageError(f"Expected --end to be a past date or today ({today()}), got {last}.")
    return [last - dt.timedelta(days=number) for number in reversed(range(days))]
