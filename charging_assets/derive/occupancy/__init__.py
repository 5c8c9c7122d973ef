"""What polls tell of the use of charging points.

    facts, log, frozen spans ─▶ observation ─▶ status_intervals ─▶ charging_events (energy)
    (days D-7..D+1)                 │ (pieces of observed time)        │
    master_observations ─▶ places ──┴─▶ utilization_hourly ────────────┴─▶ kpi_daily   (day: all of a day)
                                                                              └─▶ kpi_monthly, reports (periods)

The rules of observation live in `observation` and nowhere else; formulas of KPIs in `formulas`.
"""
