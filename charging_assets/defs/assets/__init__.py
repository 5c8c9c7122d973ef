"""The assets. Each loads, calls one domain function and returns."""

from charging_assets.defs.assets.dimensions import calendar, dimensions
from charging_assets.defs.assets.flattened import flatten
from charging_assets.defs.assets.health import feed_health
from charging_assets.defs.assets.occupancy import occupancy, periods, poi_effect_asset
from charging_assets.defs.assets.pois import pois, raw_pois, station_pois_asset
from charging_assets.defs.assets.raw import current_status, raw_snapshots
from charging_assets.defs.assets.reports import reports

ASSETS = [
    *(raw_snapshots, flatten, current_status, feed_health, occupancy),
    *(dimensions, calendar, periods),
    *(raw_pois, pois, station_pois_asset, poi_effect_asset),
    reports,
]
