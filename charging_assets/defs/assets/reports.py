"""Reports of a month, as files and as the UI shows them."""

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from charging_assets.calendar import utc_now
from charging_assets.defs.checks import require_passed
from charging_assets.defs.partitions import MONTHLY, month_of
from charging_assets.defs.resources import LakeResource
from charging_assets.lake import Lake
from charging_assets.settings import Settings

if TYPE_CHECKING:
    from charging_assets.reports.occupancy.content import By

REPORTS: dict[str, "By"] = {f"report_by_{by}": by for by in ("city", "station", "operator", "power_class")}
"""What each asset has a row of."""

_TABLES = ("kpi_daily", "charging_events", "utilization_hourly")
_CHANGES_SHOWN = 20


@dg.multi_asset(
    name="reports",
    specs=[
        dg.AssetSpec(
            name,
            deps=list(_TABLES),
            description=f"How much charging points were used in a month, by {by.replace('_', ' ')}: as a page to print "
            "and as a workbook in `<home>/reports`. The figures that were given out are kept in the lake, and those "
            "that are others by now are named. `charging-assets report` makes one of any period.",
            group_name="reports",
            owners=["team:data-platform"],
            kinds={"html", "excel"},
            tags={"cadence": "month"},
            partitions_def=MONTHLY,
            skippable=True,
        )
        for name, by in REPORTS.items()
    ],
    can_subset=True,
)
def reports(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[None]]:
    """Make the selected reports of a month."""
    opened = lake.open()
    first, last = month_of(context.partition_key)
    for name in _TABLES:
        dates = [date.isoformat() for date in opened.partitions(name) if first <= date <= last]
        require_passed(context.instance, [name], dates)
    for key in sorted(context.selected_asset_keys):
        yield dg.MaterializeResult(asset_key=key, metadata=_made(opened, key.path[-1], context.partition_key))


def _made(lake: Lake, name: str, month: str) -> dict[str, Any]:
    """Write a report's files, keep its figures; returns what the UI shows of it."""
    # Imported when asked for: loading the definitions does without DuckDB and what writes workbooks.
    from charging_assets.reports.occupancy.archive import publish  # noqa: PLC0415
    from charging_assets.reports.occupancy.content import make_report  # noqa: PLC0415
    from charging_assets.reports.occupancy.exports import write_file  # noqa: PLC0415
    from charging_assets.reports.occupancy.findings import findings  # noqa: PLC0415
    from charging_assets.reports.occupancy.page import report_page  # noqa: PLC0415
    from charging_assets.reports.occupancy.plots import report_picture  # noqa: PLC0415
    from charging_assets.reports.occupancy.workbook import to_xlsx  # noqa: PLC0415

    report = make_report(lake, REPORTS[name], *month_of(month))
    folder = Settings.from_env().home / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    page, workbook = (folder / f"{name}-{month[:7]}.{form}" for form in ("html", "xlsx"))
    write_file(page, report_page(report).encode())
    write_file(workbook, to_xlsx(report))
    done, said = publish(lake, report, utc_now()), report.provenance
    picture = base64.b64encode(report_picture(report)).decode()
    changes = "\n".join(f"- {change}" for change in done.changes[:_CHANGES_SHOWN])
    return {
        "findings": dg.MetadataValue.md("\n".join(f"- {finding}" for finding in findings(report))),
        "picture": dg.MetadataValue.md(f"![Utilization by day and by hour](data:image/svg+xml;base64,{picture})"),
        "report_id": said.report_id,
        "rows": report.rows.num_rows,
        "coverage": said.coverage,
        "method_version": said.method_version,
        "page": dg.MetadataValue.path(str(page)),
        "workbook": dg.MetadataValue.path(str(workbook)),
        "figures_changed": len(done.changes),
        **({"changes": dg.MetadataValue.md(changes)} if changes else {}),
    }
