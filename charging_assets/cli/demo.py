"""`charging-assets demo`: a simulated week made, built and queried, then polled live behind the Dagster UI."""

import contextlib
import contextvars
import datetime as dt
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from charging_assets.calendar import day_bounds, today
from charging_assets.cli import demo_tour, runs
from charging_assets.cli.environment import open_lake, use_dagster_home
from charging_assets.cli.progress import progress_bar
from charging_assets.progress import Watcher, advance, watch
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from charging_assets.lake import Lake
    from charging_assets.simulator import Simulation, World

HOME = ".charging_assets-demo"
MISSING = 0.02
"""Share of the answers that do not come, or not well."""
MOST_DAYS = 31

_OFF_WEEKDAY, _OFF_HOURS = 2, dt.timedelta(hours=5)
_UI_WITHIN_S, _END_WITHIN_S = 120, 8
_WORKSPACE = """\
load_from:
  - python_module:
      module_name: charging_assets.definitions
      location_name: charging_assets
"""
_START_SCHEDULE = """mutation {startSchedule(scheduleSelector: {
    repositoryLocationName: "charging_assets", repositoryName: "__repository__",
    scheduleName: "poll_chargecloud_schedule"}) {__typename}}"""


@click.command()
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=7, show_default=True, help="Query dates, up to yesterday."
)
@click.option("--no-serve", is_flag=True, help="End after building.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Of the Dagster UI.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Which simulated world.")
def demo(days: int, no_serve: bool, port: int, seed: int) -> None:
    """Try everything on a simulated Germany: 38 feeds, 2,423 charging points, and what stands around them.

    Simulates the past days into ./.charging_assets-demo, builds their tables, shows what came of it, writes the report
    of a city, and serves the Dagster UI with the live simulated feeds polled behind it until Ctrl-C. What is there
    already is kept: run it again to go on. It takes no settings from the environment and touches nothing else.
    """
    with _interruptible():
        try:
            _demo(days, None if no_serve else port, seed)
        except (KeyboardInterrupt, click.Abort) as interrupt:
            click.echo(f"\nStopped. What was made stays in ./{HOME}: run the demo again to go on from there.", err=True)
            raise click.exceptions.Exit(130) from interrupt


def _demo(days: int, port: int | None, seed: int) -> None:
    if port is not None:
        _require_free(port)
    home = Path(HOME).absolute()
    dates = [today() - dt.timedelta(days=number) for number in reversed(range(1, days + 1))]
    settings = _use_home(home, dates[0])
    lake = open_lake(settings)
    click.echo(
        f"A simulated Germany (seed {seed}) from {dates[0]} to {dates[-1]}, one poll every "
        f"{settings.interval_s // 60} minutes, in ./{HOME}"
    )
    started = time.monotonic()
    simulation = _simulate(settings, lake, dates, seed)
    simulated = time.monotonic()
    _build(settings, lake, dates)
    built = time.monotonic()
    unasked = f"on Wednesdays the demo's collector is off for the last {_OFF_HOURS.seconds // 3600} hours"
    whole = [date for date in dates if date.weekday() != _OFF_WEEKDAY]
    report = demo_tour.show(settings, lake, dates, "" if whole == dates else unasked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    click.echo(
        f"\nSimulated in {simulated - started:.1f} s, built in {built - simulated:.1f} s, "
        f"shown in {time.monotonic() - built:.1f} s; {peak / 2**20:,.0f} MiB of memory at most."
    )
    command = _command()
    busiest = max(report.rows.to_pylist(), key=lambda row: row["occupied_s"] / row["points"])
    click.echo(
        f"  report    {HOME}/{demo_tour.REPORT}: {report.city}, to read and to print\n"
        f"  pictures  {HOME}/{demo_tour.WEEK}, {HOME}/{demo_tour.POI_MAP}\n"
        f"  tables    {HOME}/lake/tables (Parquet)\n"
        f"  answers   {HOME}/lake/raw\n"
        f"  clean up  rm -r {HOME}\n"
        "\nYour own questions:\n"
        f"  export CHARGING_ASSETS_HOME={HOME}\n"
        f'  {command} sql "SHOW TABLES"\n'
        f"  {command} report --by operator --from {dates[0]} --to {dates[-1]}\n"
        f"  {command} explain --kpi utilization --station {busiest['scope_id']} --date {(whole or dates)[-1]}"
    )
    if port is not None:
        _serve(settings, simulation, home, port)


def _command() -> str:
    """This command as a shell in the current folder finds it, which is not on the path of a fresh one."""
    name, started = "charging-assets", Path(sys.argv[0]).absolute()
    if shutil.which(name) or started.name != name:
        return name
    folder = Path.cwd()
    return shlex.quote(str(started.relative_to(folder) if folder in started.parents[1:] else started))


def _use_home(home: Path, first_date: dt.date) -> Settings:
    """Have this process and its children live in `home` and nowhere else; nothing is written yet."""
    from charging_assets.simulator import FEEDS

    for name in [name for name in os.environ if name.startswith("CHARGING_ASSETS_")]:
        del os.environ[name]
    os.environ |= {
        "CHARGING_ASSETS_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "CHARGING_ASSETS_SOURCE": "simulator",
        "CHARGING_ASSETS_FEEDS": ",".join(FEEDS),
    }
    for name in ("NO_PROXY", "no_proxy"):  # all servers are on this machine
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))
    # The UI shows a partition for each date since this one.
    known = open_lake(Settings.from_env()).raw.dates()
    os.environ["CHARGING_ASSETS_FIRST_DATE"] = min([first_date, *known]).isoformat()
    return Settings.from_env()


def _simulate(settings: Settings, lake: "Lake", dates: Sequence[dt.date], seed: int) -> "Simulation":
    """Poll the simulation on the dates that lack polls, and map its towns once; returns it, to go on with."""
    from charging_assets.simulator import Simulation, write_history, write_pois

    simulation = Simulation(_world(settings, lake, dates[-1], seed))
    write_pois(simulation.world, lake, day_bounds(dates[0])[0])
    planned = {date: _planned(date, settings.interval_s) for date in dates}
    held = {date: lake.raw.index(date) for date in set(lake.raw.dates()).intersection(dates)}
    todo = [
        date for date in dates if date not in held or not planned[date] <= set(held[date]["query_time"].to_pylist())
    ]
    if not todo:
        click.echo("All polls are there already.")
        return simulation
    total, done = sum(len(planned[date]) for date in todo), 0
    with progress_bar():
        for date in todo:
            with watch(_onwards(done, total)):
                write_history(
                    simulation,
                    lake,
                    [date],
                    interval_s=settings.interval_s,
                    missing=MISSING,
                    until=_switched_off(date),
                )
            done += len(planned[date])
    return simulation


def _world(settings: Settings, lake: "Lake", last_date: dt.date, seed: int) -> "World":
    """The world that the demo's lake holds, or may hold from now on."""
    from charging_assets.lake import Kind, WrongKind
    from charging_assets.simulator import epoch_of, make_world

    held = lake.raw.kind()
    # Early enough for any later demo in this home, which may show up to `MOST_DAYS` days too.
    epoch = epoch_of(last_date - dt.timedelta(days=MOST_DAYS))
    if held is not None and held.epoch is not None:
        epoch = dt.datetime.combine(dt.date.fromisoformat(held.epoch), dt.time.min, dt.UTC)
    wanted = Kind("simulated", seed, epoch.date().isoformat())
    try:
        lake.raw.claim(wanted)
    except WrongKind as wrong:
        raise click.ClickException(
            f"{lake.uri} holds {held or 'real data'}, and this demo is {wanted}: they are never mixed. "
            f"Move or remove {settings.home} first"
            + (f", or run with --seed {held.seed}." if held is not None and held.seed is not None else ".")
        ) from wrong
    return make_world(seed, epoch)


def _onwards(before: int, total: int) -> Watcher:
    """Report to whoever watches now, as part of more work: `write_history` counts from 0 at each call."""
    watched = contextvars.copy_context()

    def go_on(what: str, done: int, _total: int) -> None:
        watched.run(advance, what, before + done, total)

    return go_on


def _switched_off(date: dt.date) -> dt.datetime:
    """When the collector goes off on that date. On Wednesdays it is in the evening: to show what nobody observed."""
    end = day_bounds(date)[1]
    return end - _OFF_HOURS if date.weekday() == _OFF_WEEKDAY else end


def _planned(date: dt.date, interval_s: int) -> set[dt.datetime]:
    """Times of the polls that the demo simulates on that date."""
    start = day_bounds(date)[0]
    count = int((_switched_off(date) - start).total_seconds()) // interval_s
    return {start + number * dt.timedelta(seconds=interval_s) for number in range(count)}


def _build(settings: Settings, lake: "Lake", dates: Sequence[dt.date]) -> None:
    """Build what is not up to date, as `charging-assets build` does."""
    import dagster as dg

    from charging_assets.cli.environment import poi_rules
    from charging_assets.defs.assets.pois import POI_TABLES
    from charging_assets.defs.assets.raw import raw_report
    from charging_assets.derive.inputs import stale_dates, stale_undated

    changed, stale = stale_dates(lake, dates), stale_undated(lake, settings.active_days, poi_rules(settings))
    if not changed and not stale:
        click.echo("All tables are built already.")
        return
    use_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:  # before building: tables are as new as what the UI knows of their input
        for date in changed:
            instance.report_runless_asset_event(raw_report(lake, date.isoformat()))
    checked: list[dg.AssetCheckEvaluation] = []
    if not set(POI_TABLES).isdisjoint(stale):  # before the stations: these are matched at the end of building
        checked += runs.run_job(settings, "refresh_pois", {}, assets=["raw_pois", *POI_TABLES], verbose=False).checked
    checked += runs.build_dates(settings, changed or dates, skip_unchanged=True, verbose=False).checked
    runs.print_checks(checked)


def _serve(settings: Settings, simulation: "Simulation", home: Path, port: int) -> None:
    """Poll the simulation behind the UI until Ctrl-C."""
    from charging_assets.simulator import SimulatedServer

    with SimulatedServer(simulation) as server:
        os.environ["CHARGING_ASSETS_CHARGECLOUD_URL"] = server.url
        use_dagster_home(settings)
        click.echo("\nPolling the simulated feeds live, and starting the Dagster UI …")
        with contextlib.suppress(click.exceptions.Exit):  # the poll said that nobody answered
            click.get_current_context().invoke(runs.poll, verbose=False)
        with _dagster_dev(home, port) as ui:
            click.echo(
                f"http://localhost:{port} is the Dagster UI; poll_chargecloud_schedule polls every "
                f"{settings.interval_s // 60} minutes. Ctrl-C ends both."
            )
            try:
                ui.wait()
            except KeyboardInterrupt:
                click.echo("\nStopping …", err=True)
            else:
                raise click.ClickException(_died(home))
    click.echo(f"Stopped. Everything stays in ./{HOME}: run the demo again to go on from there.", err=True)


@contextmanager
def _dagster_dev(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The UI and its daemon with the schedule turned on, ended with all their processes within seconds."""
    workspace = home / "workspace.yaml"
    workspace.write_text(_WORKSPACE)
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)]
    with (home / "dagster-dev.log").open("wb") as log:
        # A group of its own: Ctrl-C reaches the demo only, which ends the group.
        process = subprocess.Popen(  # noqa: S603 - our own words
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        _start_schedule(process, home, port)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(_END_WITHIN_S)
        with contextlib.suppress(ProcessLookupError):  # runs that the daemon started, and what did not end
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start_schedule(process: subprocess.Popen[bytes], home: Path, port: int) -> None:
    """Turn the schedule on as the UI's switch does, as soon as the UI is there to ask."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": _START_SCHEDULE}).encode(),
        {"Content-Type": "application/json"},
    )
    deadline, answer = time.monotonic() + _UI_WITHIN_S, None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise click.ClickException(_died(home))
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - http, on this machine
                answer = json.load(response)
            if answer.get("data", {}).get("startSchedule", {}).get("__typename") == "ScheduleStateResult":
                return
        time.sleep(0.3)
    raise click.ClickException(
        f"The Dagster UI did not turn its schedule on within {_UI_WITHIN_S} s (it said {answer}): "
        f"see {home / 'dagster-dev.log'}"
    )


def _died(home: Path) -> str:
    log = home / "dagster-dev.log"
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
    return f"The Dagster UI ended by itself; the last it said was: {last[0]} (all of it: {log})"


def _require_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise click.ClickException(
            f"Port {port} cannot be used for the Dagster UI ({error.strerror}): choose another with --port, or "
            "--no-serve."
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C too, whose children would outlive it otherwise.

    And Ctrl-C for itself: in a shell's background job it is ignored, and what the demo starts would inherit that.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> Any:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
