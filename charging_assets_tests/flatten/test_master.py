"""Master data of a day: what the values become, and the runs of equal rows."""

import datetime as dt
import json
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_assets.flatten.chargecloud import ChargecloudReader
from charging_assets.flatten.day import flatten_day
from charging_assets.flatten.pieces import Pieces
from charging_assets.lake import Lake
from charging_assets.model.answer import Answer
from charging_assets.model.ids import station_number
from charging_assets_tests.chargecloud_answers import answer, connector, evse, location
from charging_assets_tests.flatten.test_day import DAY, START, keep, ok


def observations(lake: Lake, level: str) -> list[dict[str, Any]]:
    """The day's rows of a level, nulls left out."""
    lake.publish(flatten_day(lake, DAY, ["master_observations"])["master_observations"])
    table = lake.read("master_observations", DAY)
    rows = table.filter(pc.equal(table["level"], level)).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def at(poll: int) -> dt.datetime:
    return START + dt.timedelta(minutes=10 * poll)


def test_a_station_is_told_with_trimmed_texts_and_numbers(lake: Lake) -> None:
    described = location(
        "493558",
        [],
        name=" Affalterstr. 9 ",
        postal_code="07469",
        directions="Im Hof,\r\nlinks",
        comment="-",
        coordinates={"latitude": "48.816269", "longitude": "9,171917"},
        operator={"operatorId": "STR", "name": "Stadtwerke ", "hotline": " "},
        opening_times={
            "twentyfourseven": False,
            "regular_hours": [
                {"weekday": 2, "period_begin": "08:00", "period_end": "20:00"},
                {"weekday": "1", "period_begin": "08:00", "period_end": "20:00"},
            ],
        },
        roaming="true",
        tariffZones=["2848", "10434", "2848"],
    )
    keep(lake, 0, ok("koeln", answer(described)))

    (row,) = observations(lake, "station")

    assert row.pop("content_hash")
    assert row == {
        "level": "station",
        "id": "493558",
        "first_seen": at(0),
        "last_seen": at(0),
        "query_date": DAY,
        "source": "chargecloud",
        "feed": "koeln",
        "polls": 1,
        "id_cs": 493558,
        "source_id": "493558",
        "name": "Affalterstr. 9",
        "address": "Musterstr. 1",
        "city": "Musterstadt",
        "postal_code": "07469",
        "roaming": True,
        "longitude": 9.171917,
        "latitude": 48.816269,
        "operator_name": "Stadtwerke",
        "operator_id": "STR",
        "open_24_7": False,
        "opening_hours": '{"regular_hours":[{"weekday":1,"period_begin":"08:00","period_end":"20:00"},'
        '{"weekday":2,"period_begin":"08:00","period_end":"20:00"}]}',
        "directions": "Im Hof,\r\nlinks",
        "tariff_zones": '["10434","2848"]',
    }


def test_points_know_their_station_and_power_and_connectors_their_point(lake: Lake) -> None:
    plugs = [
        connector("c1", max_power=22, power_type="AC_3_PHASE", ampere="32", voltage="400", standard="IEC_62196_T2"),
        connector("c2", max_power="50", power_type="DC", format="CABLE"),
    ]
    point = evse("DE*STR*E10001*001", connectors=plugs, uid="1141623", capabilities=["RESERVABLE", "RFID_READER"],
                 chargePointParkingSpaceNumbers="02", floor_level="-2", roaming=False)  # fmt: skip
    keep(lake, 0, ok("koeln", answer(location("7", [point]))))

    (row,) = observations(lake, "point")
    first, second = observations(lake, "connector")

    told = ("id", "id_cp", "id_cs", "evse_uid", "evse_key", "max_power", "power_class", "capabilities", "floor_level")
    assert [row[name] for name in told] == [
        *("DE*STR*E10001*001", "DE*STR*E10001*001", 7, "1141623", "DESTRE10001001", 50, "DC 0-50"),
        *('["RFID_READER"]', "-2"),
    ]
    assert (row["parking_space_numbers"], row["roaming"]) == ("02", False)
    told = ("id", "id_cp", "max_power", "power_class", "ampere", "voltage", "standard", "format")
    assert [first.get(name) for name in told] == [
        "c1", "DE*STR*E10001*001", 22, "AC 11-22", 32, 400, "IEC_62196_T2", "SOCKET",
    ]  # fmt: skip
    assert [second.get(name) for name in told] == [
        "c2",
        "DE*STR*E10001*001",
        50,
        "DC 0-50",
        32,
        400,
        "IEC_62196_T2",
        "CABLE",
    ]


@pytest.mark.parametrize(
    ("kind", "kw", "power", "power_class"),
    [
        ("AC_1_PHASE", "3,7", 4, "AC 0-3.7"),
        ("AC_1_PHASE", 3.68, 4, "AC 0-3.7"),
        ("AC_3_PHASE", 11.0, 11, "AC 3.7-11"),
        ("AC_3_PHASE", "22 ", 22, "AC 11-22"),
        ("AC_3_PHASE", 44, 44, "AC 22-43"),
        ("DC", 50, 50, "DC 0-50"),
        ("DC", 150, 150, "DC 50-150"),
        ("DC", 151, 151, "DC 150+"),
        (None, 22, 22, None),
        ("WATER", 22, 22, None),
        ("DC", None, None, None),
        ("DC", "-", None, None),
    ],
)
def test_the_power_class_follows_current_and_power(
    lake: Lake, kind: str | None, kw: object, power: int | None, power_class: str | None
) -> None:
    keep(
        lake,
        0,
        ok("koeln", answer(location("1", [evse("E", connectors=[connector("c", power_type=kind, max_power=kw)])]))),
    )
    (row,) = observations(lake, "connector")
    assert (row.get("max_power"), row.get("power_class")) == (power, power_class)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("max_power", 0, "expected kW from 1 to 2,000, got a number"),
        ("max_power", 22_000, "expected kW from 1 to 2,000, got a number"),
        ("ampere", "many", "expected A from 1 to 2,000, got a text"),
        ("voltage", True, "expected V from 1 to 2,000, got true or false"),
        ("ampere", "1_0", "expected A from 1 to 2,000, got a text"),
        ("voltage", "nan", "expected V from 1 to 2,000, got a text"),
        ("standard", ["T2"], "expected a text, got a list"),
    ],
)
def test_a_value_that_cannot_be_is_rejected_with_its_reason_and_costs_nothing_else(
    lake: Lake, key: str, value: object, reason: str
) -> None:
    point = evse("E", connectors=[connector("ok"), connector("bad", **{key: value})])
    for poll, status in enumerate(("AVAILABLE", "CHARGING")):  # whichever way the location is read
        keep(lake, poll, ok("koeln", answer(location("1", [point | {"status": status}]))))
    staged = flatten_day(lake, DAY)
    for each in staged.values():
        lake.publish(each)

    rejected = lake.read("rejected_records", DAY).to_pylist()

    assert [(row["level"], row["path"], row["reason"]) for row in rejected] == [
        ("value", f"data[0].evses[0].connectors[1].{key}", reason)
    ] * 2
    log = lake.read("poll_log", DAY).to_pylist()
    assert [(row["values_rejected"], row["connectors_rejected"], row["connectors_ok"]) for row in log] == [
        (1, 0, 2)
    ] * 2
    rows = {row["id"]: row for row in lake.read("master_observations", DAY).to_pylist() if row["level"] == "connector"}
    assert rows["bad"][key] is None
    assert rows["ok"]["polls"] == rows["bad"]["polls"] == 2


@pytest.mark.parametrize("latitude", ["north", "91", "inf", {"deg": 48}])
def test_a_coordinate_that_is_none_leaves_the_station_without(lake: Lake, latitude: object) -> None:
    keep(lake, 0, ok("koeln", answer(location("1", [], coordinates={"latitude": latitude, "longitude": "9.1"}))))
    lake.publish(flatten_day(lake, DAY, ["rejected_records"])["rejected_records"])
    (row,) = observations(lake, "station")
    assert row["longitude"] == 9.1
    assert "latitude" not in row
    (reject,) = lake.read("rejected_records", DAY).to_pylist()
    assert reject["path"] == "data[0].coordinates.latitude"
    assert reject["reason"].startswith("expected degrees from -90 to 90")


def test_status_and_reservable_make_no_new_run_and_a_renaming_does(lake: Lake) -> None:
    def station(name: str, status: str) -> bytes:
        is_free = status == "AVAILABLE"
        capabilities = ["RFID_READER", *(["RESERVABLE"] if is_free else [])]
        point = evse("E", status, reservable=is_free, capabilities=capabilities, physical_reference="")
        return answer(location("1", [point], name=name))

    polls = [("A", "AVAILABLE"), ("A", "CHARGING"), ("A", "AVAILABLE"), ("B", "CHARGING"), ("B", "AVAILABLE")]
    polls += [("A", "CHARGING")]
    for poll, (name, status) in enumerate(polls):
        keep(lake, poll, ok("koeln", station(name, status)))

    stations, points = observations(lake, "station"), observations(lake, "point")

    assert [(row["name"], row["first_seen"], row["last_seen"], row["polls"]) for row in stations] == [
        ("A", at(0), at(2), 3),
        ("B", at(3), at(4), 2),
        ("A", at(5), at(5), 1),
    ]
    assert [(row["first_seen"], row["last_seen"], row["polls"]) for row in points] == [(at(0), at(5), 6)]
    hashes = [row["content_hash"] for row in stations]
    assert hashes[0] == hashes[2] != hashes[1]


def test_an_absence_ends_no_run(lake: Lake) -> None:
    both, one = [location("1", [evse("E")]), location("2", [])], [location("2", [])]
    for poll, locations in enumerate((both, one, both)):
        keep(lake, poll, ok("koeln", answer(*locations)))

    (row,) = observations(lake, "point")

    assert (row["first_seen"], row["last_seen"], row["polls"]) == (at(0), at(2), 2)


def test_each_feed_that_answers_a_station_has_runs_of_its_own(lake: Lake) -> None:
    for poll in range(3):
        keep(
            lake,
            poll,
            ok("koeln", answer(location("1", [evse("E")], name="Dom"))),
            *([ok("bonn", answer(location("1", [evse("E")], name="Münster")))] if poll else []),
        )

    rows = observations(lake, "station")

    assert [(row["feed"], row["name"], row["first_seen"], row["last_seen"]) for row in rows] == [
        ("bonn", "Münster", at(1), at(2)),
        ("koeln", "Dom", at(0), at(2)),
    ]
    assert [row["feed"] for row in observations(lake, "point")] == ["bonn", "koeln"]


def test_a_point_of_a_station_without_id_has_no_station(lake: Lake) -> None:
    nameless = location("1", [evse("E")])
    del nameless["id"]
    keep(lake, 0, ok("koeln", answer(nameless)))

    assert observations(lake, "station") == []
    (row,) = observations(lake, "point")
    assert "id_cs" not in row


def test_a_station_number_is_chargeclouds_own_or_a_negative_hash() -> None:
    assert station_number("chargecloud", "493558") == station_number("simulator", "493558") == 493558
    assert station_number("ocpi", "493558") < 0
    others = ["0493558", "493558a", "٤", str(2**63), "0", ""]
    hashes = [station_number(source, text) for source in ("chargecloud", "ocpi") for text in others]
    assert len(set(hashes)) == len(hashes)
    assert all(-(2**63) <= number < 0 for number in hashes)


def test_keys_that_no_record_has_are_named(lake: Lake) -> None:
    keep(lake, 0, ok("koeln", answer(location("1", [evse("E", parkingsensor_status="FREE", connectors=[])]))))
    lake.publish(flatten_day(lake, DAY, ["poll_log"])["poll_log"])
    (log,) = lake.read("poll_log", DAY).to_pylist()
    absent = log["absent_key_names"].split(", ")
    assert "evse.physical_reference" in absent
    assert not {"evse.parkingsensor_status", "evse.status", "location.id", "location.name"} & set(absent)
    assert not any(name.startswith("connector.") for name in absent)  # nothing is known of them


def test_the_real_answer_gives_its_master_data_and_rejects_nothing(lake: Lake, real_answer: bytes) -> None:
    keep(lake, 0, Answer("SW-Stuttgart", real_answer, http_status=200))
    for each in flatten_day(lake, DAY).values():
        lake.publish(each)
    table = lake.read("master_observations", DAY)
    counts = {level: len(rows) for level in ("station", "point", "connector") if (rows := observations(lake, level))}
    assert counts == {"station": 234, "point": 523, "connector": 526}
    assert lake.read("rejected_records", DAY).num_rows == 0
    assert pc.min_max(table["latitude"]).as_py()["min"] > 48.6
    points = table.filter(pc.equal(table["level"], "point"))
    assert points["id_cs"].null_count == points["power_class"].null_count == 0


# What differs between consecutive texts of a location, or seems to: words that look like what a status changes.
_EDITS = st.sampled_from(
    [
        *(("evse", "status", status) for status in ("AVAILABLE", "CHARGING", "ODD", None)),
        *(("evse", "reservable", value) for value in (True, False)),
        *(("evse", "capabilities", list_) for list_ in (["A"], ["A", "RESERVABLE"], ["RESERVABLE", "A"], [])),
        *(("evse", "physical_reference", text) for text in ("", '],"RESERVABLE"],"physical_reference"')),
        *(("location", "tariffZones", list_) for list_ in (["A"], ["A", "RESERVABLE"], [1])),
        *(("location", "name", text) for text in ("A", "-", '"status":"AVAILABLE"', '"status":"CHARGING"')),
        *(("connector", "max_power", value) for value in (11, "22", "x")),
        *((level, key, "absent") for level, key in (("evse", "reservable"), ("evse", "status"), ("location", "name"))),
    ]
)


def _edited(edits: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    """A location after each of the edits."""
    plug = {"id": "c", "status": "AVAILABLE", "max_power": 11}
    point = {"id": "E", "status": "AVAILABLE", "reservable": True, "capabilities": ["A"], "physical_reference": ""}
    records = {"location": {"id": "1", "tariffZones": ["A"], "name": "A"}, "evse": point, "connector": plug}
    texts = []
    for level, key, value in edits:
        if value == "absent":
            records[level].pop(key, None)
        else:
            records[level][key] = value
        whole = records["location"] | {"evses": [records["evse"] | {"connectors": [records["connector"]]}]}
        texts.append(json.loads(json.dumps(whole)))
    return texts


@settings(max_examples=200)
@given(st.lists(_EDITS, min_size=1, max_size=12).map(_edited))
def test_what_is_remembered_of_other_texts_changes_no_master_data(locations: list[dict[str, Any]]) -> None:
    def rows(pieces: Pieces, piece: int) -> list[object]:
        tables = (pieces.station_rows, pieces.point_rows, pieces.connector_rows)
        columns = (pieces.location_master, pieces.evse_master, pieces.connector_master)
        return [list(table)[column[piece]] for table, column in zip(tables, columns, strict=True)] + [
            pieces.keys_present[piece]
        ]

    together = Pieces()
    reader = ChargecloudReader(together, "chargecloud")
    for each in locations:
        alone = Pieces()
        body = json.dumps({"data": [each]}, separators=(",", ":")).encode()  # as the API writes it
        (expected,) = ChargecloudReader(alone, "chargecloud").read("koeln", body).pieces
        (piece,) = reader.read("koeln", body).pieces
        assert rows(together, piece) == rows(alone, expected)
