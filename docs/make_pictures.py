"""Take the README's pictures of the UI and of a report: ``python docs/make_pictures.py``, while `make dev` runs.

The lake wants about three weeks of built dates, with CHARGING_ASSETS_FIRST_DATE at the first of them and
`raw_snapshots` materialized for all. For the picture of a warehouse partition that failed, set one up, run the job
`publish` over all dates, cut the file of a date of `status_chargingpoints` short, run it again, and give the date.
For that of a monthly report, build a month that is over, run the job `make_reports` for it, and give its first day; for
that of a page, have `charging-assets report` write one as html, and give the file.
Needs Chromium (Debian: `apt install chromium`).
"""

import argparse
import datetime as dt
import json
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from charging_assets.calendar import today

LIMIT = 200_000
"""Bytes of a picture; more is too much for a README."""

# What the UI remembers of its user: navigation folded, and graph nodes that say what they are.
REMEMBERED = {
    "dagster-nav-collapsed": True,
    "asset-graph-direction": "horizontal",
    "asset-node-facets": ["partitions"],
}


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://localhost:3000", help="of the running UI (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "pictures")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser's executable")
    parser.add_argument(
        "--failed", metavar="DATE", help="whose partition in the warehouse failed; else no such picture"
    )
    parser.add_argument("--month", metavar="DATE", help="of which a report was made; else no such picture")
    parser.add_argument("--report", metavar="FILE", type=Path, help="a report as html; else no such picture")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=given.chromium) as browser:
        _lineage(browser, given.url, given.folder / "lineage.png")
        _partitions(browser, given.url, given.folder / "partitions.png")
        _checks(browser, given.url, given.folder / "checks.png")
        if given.failed:
            _warehouse(browser, given.url, given.folder / "warehouse.png", given.failed)
        if given.month:
            _monthly_report(browser, given.url, given.folder / "monthly_report.png", given.month)
        if given.report:
            _report_page(browser, given.report, given.folder / "report.png")


def _lineage(browser: Browser, url: str, file: Path) -> None:
    """From raw answers to reports: the whole graph is too large for names that can be read."""
    page = _open(
        browser,
        f"{url}/assets/kpi_daily?view=lineage&lineageScope=neighbors&lineageDepth=2",
        width=1200,
        height=860,
        scale=1,
    )
    page.get_by_text("report_by_city", exact=True).first.wait_for()
    _take(page, file)


def _partitions(browser: Browser, url: str, file: Path) -> None:
    yesterday = today() - dt.timedelta(days=1)
    page = _open(
        browser, f"{url}/assets/status_chargingpoints?view=partitions&partition={yesterday}", width=1280, height=940
    )
    page.get_by_text("dagster/partition_row_count").wait_for()
    _take(page, file)


def _checks(browser: Browser, url: str, file: Path) -> None:
    page = _open(browser, f"{url}/assets/feed_health?view=checks&checkDetail=completeness", width=1160, height=640)
    page.get_by_text("Evaluation result").wait_for()
    _take(page, file)


def _warehouse(browser: Browser, url: str, file: Path, failed: str) -> None:
    asset = f"{url}/assets/warehouse/status_chargingpoints"
    page = _open(browser, f"{asset}?view=partitions&partition={failed}", width=1280, height=900)
    page.get_by_text("failed, and did not materialize this asset").wait_for()
    _take(page, file)


def _monthly_report(browser: Browser, url: str, file: Path, month: str) -> None:
    page = _open(
        browser, f"{url}/assets/report_by_city?view=partitions&partition={month}", width=1280, height=880, scale=1
    )
    page.get_by_text("[Show Markdown]").click()  # the plot: what is long is not shown beside the rest
    _take(page, file)


def _report_page(browser: Browser, report: Path, file: Path) -> None:
    """The beginning of it: figures, findings, and use by day."""
    page = _open(browser, report.absolute().as_uri(), width=900, height=1290, scale=1)
    _take(page, file)


def _open(browser: Browser, url: str, *, width: int, height: int, scale: float = 1.25) -> Page:
    """A page in the light theme, `scale` times as fine as its layout: 1.25 is sharp at a README's 900 pixels."""
    size = {"width": width, "height": height}
    page = browser.new_page(viewport=size, device_scale_factor=scale, color_scheme="light")
    page.add_init_script(
        f"for (const [name, value] of Object.entries({json.dumps(REMEMBERED)})) "
        "localStorage[name] = JSON.stringify(value)"
    )
    page.goto(url)
    return page


def _take(page: Page, file: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3_000)  # the graph moves into place, and nothing says when it is there
    size = len(page.screenshot(path=file))
    page.close()
    if size > LIMIT:
        raise SystemExit(f"{file}: expected at most {LIMIT:,} bytes, got {size:,}; take a smaller page")


if __name__ == "__main__":
    main()
