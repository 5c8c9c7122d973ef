"""Reports on the use of charging points: figures of a period, given out as files that say where they are from.

kpi_daily, charging_events, utilization_hourly ─▶ content (Report) ─▶ exports (csv, xlsx, parquet), page (html)
                                                      │
                                                      └─▶ archive: what was given out, and whether it still holds
"""
