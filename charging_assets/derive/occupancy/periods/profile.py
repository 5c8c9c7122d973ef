"""How busy by weekday and local hour, from `utilization_hourly`."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.derive.occupancy.formulas import share, shown
from charging_assets.derive.occupancy.periods.selection import OBSERVED, Selection
from charging_assets.model.arrow import arrow_schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def profile(connection: "Connection", selection: Selection, is_counted: str = "true") -> pa.Table:
    """`usage_profile` of a selection.

    Args:
        connection: has `utilization_hourly`.
        selection: of what.
        is_counted: SQL: whether an hour is of the period.
    """
    kinds = ("occupied_s", "free_s", "fault_s", "unknown_s")
    # Distinct days are counted by a bit for each week, of which a number has room for 62: counting them as they are
    # takes three times as long.
    query = f"""
        WITH weeks AS (
            SELECT
                scope_id, isodow(query_date) AS weekday, hour_local, week // 62 AS weeks,
                {", ".join(f"sum({kind}) AS {kind}" for kind in kinds)},
                bit_or(CASE WHEN {OBSERVED} > 0 THEN CAST(1 AS BIGINT) << (week % 62) ELSE 0 END) AS observed
            FROM (
                SELECT
                    *, {selection.column} AS scope_id,
                    (query_date - DATE '1970-01-05') // 7 AS week
                FROM utilization_hourly
            )
            WHERE scope_id IS NOT NULL AND {is_counted} AND {selection.is_wanted}
            GROUP BY ALL
        )
        SELECT
            '{selection.scope}' AS scope, CAST(scope_id AS VARCHAR) AS scope_id, weekday, hour_local,
            {", ".join(f"CAST(sum({kind}) AS BIGINT) AS {kind}" for kind in kinds)},
            CAST(sum(bit_count(observed)) AS INTEGER) AS days
        FROM weeks
        GROUP BY ALL
        ORDER BY ALL"""  # noqa: S608
    sums = connection.sql(query).to_arrow_table()
    observed = pc.add(pc.add(sums["occupied_s"], sums["free_s"]), sums["fault_s"])
    coverage = share(observed, pc.add(observed, sums["unknown_s"]))
    rows = sums.append_column("coverage", coverage)
    rows = rows.append_column("utilization", shown(share(sums["occupied_s"], observed), coverage))
    schema = arrow_schema("usage_profile")
    return rows.select(schema.names).cast(schema)
