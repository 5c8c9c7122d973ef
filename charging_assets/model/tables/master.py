"""Master data: what stations, points and connectors are, when that changed, and the calendar.

A group of columns is declared once and used by the observations of a day, the dimension and its history.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Double, Integer, Table

from charging_assets.model.tables.declare import column, count, declare, origin, text, time

POWER_CLASSES = ("AC 0-3.7", "AC 3.7-11", "AC 11-22", "AC 22-43", "DC 0-50", "DC 50-150", "DC 150+")
"""By type of current and power in kW, upper bounds included; AC above 43 kW is in AC's last."""


STATES = ("BB", "BE", "BW", "BY", "HB", "HE", "HH", "MV", "NI", "NW", "RP", "SH", "SL", "SN", "ST", "TH")
"""The federal states; `holidays` knows the city of Augsburg besides, whose peace festival is no state's holiday."""


def _text(name: str, doc: str, *, few: bool = False) -> Column[Any]:
    return text(name, doc, nullable=True, few=few)


def _flag(name: str, doc: str) -> Column[Any]:
    return column(name, Boolean(), doc, nullable=True)


def _amount(name: str, doc: str, unit: str) -> Column[Any]:
    return column(name, Integer(), doc, nullable=True, unit=unit)


def _id_cs(*, nullable: bool = True) -> Column[Any]:
    return column(
        "id_cs",
        BigInteger(),
        "Charging station: chargecloud's own number; of other sources, and where it is none, a negative hash of "
        "(source, source_id).",
        nullable=nullable,
    )


def _id_cp(*, nullable: bool = True) -> Column[Any]:
    return text(
        "id_cp", "Charging point: its EVSE-ID as the feed gives it; `uid:<uid>` without one.", nullable=nullable
    )


def _max_power() -> Column[Any]:
    return _amount("max_power", "Power; of a point, that of its strongest connector.", "kW")


def _power_class() -> Column[Any]:
    return _text("power_class", f"{', '.join(f'`{name}`' for name in POWER_CLASSES)} kW; null: not known.", few=True)


def _station(id_column: Column[Any]) -> list[Column[Any]]:
    """The columns asked for, in their order."""
    return [
        id_column,
        _text("name", "Name."),
        _text("address", "Street and number."),
        _text("city", "City."),
        _text("postal_code", "Postal code, with leading zeros."),
        _text("country", "Country, two letters."),
        _text("owner", "Owner."),
        _flag("roaming", "Whether other providers' customers may charge here."),
        column("longitude", Double(), "East, WGS 84.", nullable=True, unit="degrees"),
        column("latitude", Double(), "North, WGS 84.", nullable=True, unit="degrees"),
        _text("operator_name", "Operator."),
        _text("operator_hotline", "The operator's telephone number."),
        _flag("open_24_7", "Whether it is always open."),
    ]


def _station_more() -> list[Column[Any]]:
    return [
        _text("source_id", "The source's own id of the station, as it gives it."),
        _text("opening_hours", "Regular and exceptional opening times as JSON in OCPI's words; null when always open."),
        _text("operator_id", "The source's id of the operator."),
        _text("directions", "How to find it."),
        _text("comment", "Comment."),
        _text("tariff_zones", "Tariff zones, as a sorted JSON list."),
    ]


def _point(*ids: Column[Any]) -> list[Column[Any]]:
    return [
        *ids,
        _text("charging_station_position", "Where the station stands."),
        _text("cp_position", "Where the point is at its station."),
        _text("vehicle_type", "Which vehicles it is for."),
        _text("floor_level", "Which floor; sometimes a whole description."),
    ]


def _point_more() -> list[Column[Any]]:
    return [
        _text("capabilities", "Capabilities but RESERVABLE, as a sorted JSON list."),
        _text("physical_reference", "What is written on it."),
        _text("parking_space_numbers", "Numbers of its parking spaces."),
        _text("public_comment", "Comment for the public."),
        _text("evse_uid", "The source's own id of the point."),
        _text("evse_key", "EVSE-ID without separators, in upper case: joins with other registers; null without one."),
        _max_power(),
        _power_class(),
    ]


def _connector(*ids: Column[Any]) -> list[Column[Any]]:
    return [
        *ids,
        _text("format", "`SOCKET` or `CABLE`.", few=True),
        _text("power_type", "`AC_1_PHASE`, `AC_3_PHASE` or `DC`.", few=True),
        _amount("ampere", "Current.", "A"),
        _amount("voltage", "Voltage.", "V"),
        _max_power(),
        _text("standard", "Kind of plug, in OCPI's words.", few=True),
    ]


def _connector_more() -> list[Column[Any]]:
    return [_text("tariff_id", "Tariff."), _power_class()]


def _point_roaming() -> Column[Any]:
    return _flag("roaming", "Whether other providers' customers may charge at this point.")


def _source() -> Column[Any]:
    return text("source", "Which system answered: `chargecloud`, `simulator`.", few=True)


def _seen() -> list[Column[Any]]:
    return [
        _source(),
        text("feed", "Which of its feeds these columns are from: of several the one that had it first.", few=True),
        time("first_seen", "First poll that saw it, in whichever feed."),
        time("last_seen", "Last poll that saw it, in whichever feed."),
        column(
            "is_active",
            Boolean(),
            "Whether it was seen on one of the last 2 days (CHARGING_ASSETS_ACTIVE_DAYS) on which its feed was. A feed "
            "that is silent says nothing about its stations.",
        ),
    ]


def _validity() -> list[Column[Any]]:
    return [
        time("valid_from", "First poll that saw this version."),
        time("valid_to", "First poll that saw the next version; null for the last one.", nullable=True),
        column("is_current", Boolean(), "Whether it is the last version, also of something that has vanished."),
        _text("changed_columns", "What differs from the version before, comma-separated; null for the first version."),
    ]


def _observed() -> list[Column[Any]]:
    """All columns of the three levels, each once."""
    levels = [
        *_station(_id_cs()),
        *_station_more(),
        *_point(_id_cp()),
        *_point_more(),
        *_connector(),
        *_connector_more(),
    ]
    return list({col.name: col for col in levels}.values())


master_observations = declare(
    "master_observations",
    "What a day's answers say about stations, points and connectors: the runs of equal master data of each, per feed. "
    "Also the day's hierarchy and power, which the reports of that day use. Columns of other levels are null.",
    text("level", "`station`, `point` or `connector`.", few=True),
    text("id", "The source's id of the station, `id_cp` of the point, `id_connector` of the connector."),
    time("first_seen", "First poll of the run."),
    time("last_seen", "Last poll of the run; a poll that missed it in between does not end it."),
    *origin(),
    count("polls", "Polls of the run that saw it.", unit="polls"),
    column("content_hash", BigInteger(), "Hash of the columns that follow: equal for equal master data."),
    *_observed(),
    key=("level", "source", "feed", "id", "first_seen"),
    group="master",
    dated=True,
    made_from=("raw_snapshots",),
)

charging_station = declare(
    "charging_station",
    "Charging stations (locations): the last that was seen of each. One that vanished stays, with `is_active` false.",
    *_station(_id_cs(nullable=False)),
    *_station_more(),
    *_seen(),
    key=("id_cs",),
    group="master",
    dated=False,
    made_from=("master_observations",),
)

charging_point = declare(
    "charging_point",
    "Charging points (EVSEs): the last that was seen of each. One that vanished stays, with `is_active` false.",
    *_point(_id_cp(nullable=False), _id_cs()),
    *_point_more(),
    _point_roaming(),
    *_seen(),
    key=("id_cp",),
    group="master",
    dated=False,
    made_from=("master_observations",),
)

connector = declare(
    "connector",
    "Connectors (plugs): the last that was seen of each. One that vanished stays, with `is_active` false.",
    *_connector(text("id_connector", "The feed's number of the connector."), _id_cp()),
    *_connector_more(),
    *_seen(),
    key=("id_connector",),
    group="master",
    dated=False,
    made_from=("master_observations",),
)

_HISTORY = (
    "of {}: one row per version (slowly changing dimension, type 2), from all days there are, in whichever order they "
    "came. An absence is no version; `reservable` is none either."
)

charging_station_history = declare(
    "charging_station_history",
    f"Versions {_HISTORY.format('charging stations')}",
    *_station(_id_cs(nullable=False)),
    *_station_more(),
    _source(),
    *_validity(),
    key=("id_cs", "valid_from"),
    group="master",
    dated=False,
    made_from=("master_observations",),
)

charging_point_history = declare(
    "charging_point_history",
    f"Versions {_HISTORY.format('charging points')}",
    *_point(_id_cp(nullable=False), _id_cs()),
    *_point_more(),
    _point_roaming(),
    _source(),
    *_validity(),
    key=("id_cp", "valid_from"),
    group="master",
    dated=False,
    made_from=("master_observations",),
)

connector_history = declare(
    "connector_history",
    f"Versions {_HISTORY.format('connectors')}",
    *_connector(text("id_connector", "The feed's number of the connector."), _id_cp()),
    *_connector_more(),
    _source(),
    *_validity(),
    key=("id_connector", "valid_from"),
    group="master",
    dated=False,
    made_from=("master_observations",),
)


def _part(name: str, doc: str) -> Column[Any]:
    return column(name, Integer(), doc)


time_table = declare(
    "time",
    "Every query time there is, taken apart in Europe/Berlin time.",
    time("query_time", "Start of a poll, UTC, whole seconds."),
    _part("hour", "Local hour, 0 to 23; the doubled hour of autumn comes twice."),
    _part("day", "Local day of the month."),
    _part("week", "ISO week of the local date; its year is `iso_year`, not always `year`."),
    _part("month", "Local month."),
    _part("year", "Local year."),
    _part("weekday", "Local day of the week, Monday is 1."),
    _part("iso_year", "Year of the ISO week: 2027-01-01 lies in week 53 of 2026."),
    column("query_date", Date(), "Local date: the partition of everything seen then."),
    column("minute_of_week", Integer(), "Local minutes since Monday 00:00, by the clock.", unit="min"),
    column("is_dst", Boolean(), "Whether it is summer time."),
    key=("query_time",),
    group="master",
    dated=False,
    made_from=("poll_log",),
)

public_holiday = declare(
    "public_holiday",
    "Public holidays by federal state, from the year of the first query time to a year after the last one.",
    column("date", Date(), "Local date."),
    text("state", "Federal state, two letters as in ISO 3166-2:DE.", few=True),
    text("name", "Name in German; several on one day are separated by a semicolon."),
    key=("date", "state"),
    group="master",
    dated=False,
    made_from=("poll_log",),
)


def entity_columns(tab: Table) -> tuple[str, ...]:
    """The versioned columns of a dimension or history: those that `content_hash` covers, without its own id."""
    unversioned = {"source", "feed", "first_seen", "last_seen", "is_active"}
    unversioned |= {"valid_from", "valid_to", "is_current", "changed_columns", *tab.primary_key.columns.keys()}
    return tuple(col.name for col in tab.columns if col.name not in unversioned)
