import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from numpy.typing import NDArray
from shapely.geometry import GeometryCollection, LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from charging_assets.reports.canvas import Canvas, text_width
from charging_assets.reports.poi_map import poi_map

Pixels = NDArray[np.uint8]

PAPER, GROUND, INK, YELLOW = (255, 255, 255), (246, 246, 242), (28, 28, 26), (255, 210, 31)
FIRST, SECOND = (209, 73, 91), (46, 134, 171)
"""The colours of the first two categories by name."""
MAP = np.s_[66:660, 20:712]
LEGEND = np.s_[66:660, 730:1000]


def pixels(png: bytes) -> Pixels:
    """A PNG of this project, decoded: (height, width, 3)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    parts: dict[bytes, bytes] = {}
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length]) == (zlib.crc32(kind + content),)
        parts[kind] = content
        place += 12 + length
    assert list(parts) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colours, *_ = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert (depth, colours) == (8, 3)
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    assert not rows[:, 0].any()
    return np.frombuffer(parts[b"PLTE"], np.uint8).reshape(-1, 3)[rows[:, 1:]]


def colour(picture: Pixels, x: int, y: int) -> tuple[int, ...]:
    return tuple(picture[y, x].tolist())


def places_of(picture: Pixels, wanted: tuple[int, int, int]) -> NDArray[np.int64]:
    """Where a colour is, as (x, y)."""
    return np.argwhere((picture == wanted).all(axis=2))[:, ::-1]


def stations(*places: tuple[float | None, float | None]) -> pa.Table:
    longitude, latitude = zip(*places, strict=True) if places else ((), ())
    return pa.table(
        {
            "id_cs": pa.array(range(1, len(places) + 1), pa.int64()),
            "longitude": pa.array(longitude, pa.float64()),
            "latitude": pa.array(latitude, pa.float64()),
        }
    )


def pois(*shapes: BaseGeometry | None, categories: Sequence[str] = ()) -> pa.Table:
    wkb = [None if shape is None else shape.wkb for shape in shapes]
    texts = list(categories) or ["food"] * len(shapes)
    return pa.table({"geom": pa.array(wkb, pa.binary()), "poi_category": pa.array(texts, pa.string())})


# -- the map ---------------------------------------------------------------------------------------------------------


def test_north_is_up_and_east_to_the_right() -> None:
    corners = [Point(6.7, 51.21), Point(6.68, 51.19)]
    picture = pixels(poi_map(stations(), pois(*corners, categories=["a", "b"])))[MAP]
    north_east, south_west = (places_of(picture, wanted).mean(axis=0) for wanted in (FIRST, SECOND))
    assert north_east[0] > south_west[0]
    assert north_east[1] < south_west[1]


def test_distances_are_true_in_all_directions_and_to_the_scale() -> None:
    metre = 1 / 111_250
    east = metre / np.cos(np.radians(51))
    square = [Point(7 + x * east, 51 + y * metre) for x in (-500, 500) for y in (-500, 500)]
    picture = pixels(poi_map(stations(), pois(*square)))
    found = places_of(picture[MAP], FIRST)
    width, height = found.max(axis=0) - found.min(axis=0)
    assert width == pytest.approx(height, abs=2)
    bar = np.argwhere((picture[640:650, 20:300] < 120).all(axis=2))[:, ::-1]
    across = bar[:, 0].max() - bar[:, 0].min()
    assert width / across == pytest.approx(1000 / 200, rel=0.03)  # it says 200 m


def test_stations_are_on_top_and_tell_whether_a_poi_is_near() -> None:
    both = stations((6.69, 51.2), (6.70, 51.2))
    area = box(6.688, 51.199, 6.702, 51.201)
    picture = pixels(poi_map(both, pois(area), pa.table({"id_cs": pa.array([2, 2], pa.int64())})))[MAP]
    with_poi = places_of(picture, YELLOW).mean(axis=0)
    white = places_of(picture[:500], PAPER)  # not of the scale
    assert with_poi[0] > white[:, 0].max()
    assert len(white) > 20
    told_apart = pixels(poi_map(both, pois(area)))[MAP]
    assert len(places_of(told_apart[:500], PAPER)) == 0


def test_areas_are_filled_lightly_within_a_line() -> None:
    shape = Polygon(box(6.68, 51.19, 6.70, 51.21).exterior, [box(6.688, 51.198, 6.692, 51.202).exterior])
    picture = pixels(poi_map(stations(), pois(shape)))[MAP]
    height, width, _ = picture.shape
    assert colour(picture, width // 2 + 20, height // 2 + 10) == GROUND  # the hole
    light = np.array(colour(picture, width // 2 + 130, height // 2 + 70))
    assert light.tolist() == pytest.approx((0.7 * np.array(GROUND) + 0.3 * np.array(FIRST)).tolist(), abs=2)


def test_small_areas_are_dots_and_lines_are_lines() -> None:
    shapes = [box(6.68, 51.19, 6.680001, 51.190001), LineString([(6.68, 51.2), (6.70, 51.2)]), Point(6.69, 51.21)]
    picture = pixels(poi_map(stations(), pois(*shapes, categories=["a", "b", "a"])))[MAP]
    dots, line = places_of(picture, FIRST), places_of(picture, SECOND)
    assert 30 < len(dots) < 80  # two dots
    assert line[:, 0].max() - line[:, 0].min() > 300
    assert line[:, 1].max() - line[:, 1].min() <= 2


def test_rare_categories_are_drawn_above_frequent_ones() -> None:
    same = [Point(6.69, 51.2)] * 3
    first_above = pixels(poi_map(stations(), pois(*same, categories=["b", "b", "a"])))[MAP]
    assert len(places_of(first_above, FIRST)) > 10
    second_above = pixels(poi_map(stations(), pois(*same, categories=["a", "a", "b"])))[MAP]
    assert len(places_of(second_above, FIRST)) < 10


def test_what_has_no_place_in_germany_is_not_shown_but_told() -> None:
    shown = (stations((6.69, 51.2)), pois(Point(6.7, 51.2)))
    more = (
        stations((6.69, 51.2), (None, None), (0, 0), (51.2, 6.69)),
        pois(Point(6.7, 51.2), None, Polygon(), Point(float("nan"), 51), Point(0, 0)),
    )
    fewer_picture, more_picture = pixels(poi_map(*shown)), pixels(poi_map(*more))
    assert (fewer_picture[MAP] == more_picture[MAP]).all()
    told = np.s_[40:62, 20:700]
    assert len(places_of(more_picture[told], PAPER)) < len(places_of(fewer_picture[told], PAPER))


def test_the_legend_names_up_to_twelve_categories_and_sums_up_the_others() -> None:
    def rows(count: int) -> int:
        names = [f"category {number:02}" for number in range(count)]
        shapes = [Point(6.69 + number / 1000, 51.2) for number in range(count)]
        legend = pixels(poi_map(stations(), pois(*shapes, categories=names)))[LEGEND]
        is_blank = (legend == PAPER).all(axis=(1, 2))
        return int((is_blank[:-1] & ~is_blank[1:]).sum() + (not is_blank[0]))

    assert [rows(count) for count in (1, 12, 13, 30)] == [2, 13, 14, 14]  # one more: the station's


def test_any_kind_of_shape_and_broken_ones_can_be_drawn() -> None:
    shapes: list[Any] = [
        GeometryCollection([box(6.68, 51.19, 6.69, 51.2), LineString([(6.69, 51.2), (6.7, 51.21)]), Point(6.7, 51.2)]),
        Polygon([(6.69, 51.2), (6.70, 51.21), (6.70, 51.2), (6.69, 51.21)]),
        shapely.MultiPoint([(6.68, 51.21), (6.70, 51.19)]),
        Point(6.7, 51.2, 40),
    ]
    assert len(places_of(pixels(poi_map(stations(), pois(*shapes)))[MAP], FIRST)) > 100


def test_without_anything_there_is_a_picture_too() -> None:
    picture = pixels(poi_map(stations(), pois()))
    assert picture.shape == (720, 1000, 3)
    assert len(places_of(picture[MAP], GROUND)) > 0.95 * picture[MAP].shape[0] * picture[MAP].shape[1]
    assert pixels(poi_map(stations((6.69, 51.2)), pois())).shape == (720, 1000, 3)


@pytest.mark.parametrize("count", [300, 30_000])
def test_pictures_are_small_and_always_the_same(count: int) -> None:
    rng = np.random.default_rng(1)
    place = rng.normal((9, 51), (0.05, 0.03), (count, 2))
    rows = pois(*shapely.points(place).tolist(), categories=[f"category {number % 12}" for number in range(count)])
    some = stations(*map(tuple, place[: count // 12].tolist()))
    mapping = pa.table({"id_cs": some["id_cs"].slice(0, 10)})
    picture = poi_map(some, rows, mapping)
    assert len(picture) < 200_000
    assert poi_map(some, rows, mapping) == picture


# -- drawing ---------------------------------------------------------------------------------------------------------


def test_edges_are_as_dark_as_the_pixel_is_covered() -> None:
    canvas = Canvas(6, 4, "#ffffff")
    canvas.fill(box(1, 1, 3.5, 3), "#000000")
    picture = pixels(canvas.png())
    assert [colour(picture, x, 1)[0] for x in range(6)] == [255, 0, 0, 128, 255, 255]
    assert [colour(picture, 1, y)[0] for y in range(4)] == [255, 0, 0, 255]


def test_what_lies_outside_of_the_picture_is_cut_off() -> None:
    canvas = Canvas(4, 4, "#ffffff")
    canvas.fill(box(-10, -10, 2, 20), "#000000")
    canvas.fill(box(10, 10, 20, 20), "#000000")
    canvas.fill(Polygon(), "#000000")
    canvas.dots(np.array([[-50.0, 2.0], [4.0, 4.0], [1e6, 1e6]]), 1.5, "#ff0000")
    picture = pixels(canvas.png())
    assert [colour(picture, x, 0) for x in range(4)] == [(0, 0, 0)] * 2 + [PAPER] * 2
    assert colour(picture, 3, 3) == (255, 0, 0)


def test_dots_are_round() -> None:
    canvas = Canvas(21, 21, "#ffffff")
    canvas.dots(np.array([[10.5, 10.5]]), 6, "#000000")
    dark = 1 - pixels(canvas.png())[:, :, 0] / 255
    assert dark.sum() == pytest.approx(np.pi * 36, rel=0.02)
    assert (dark == dark.T).all()
    assert (dark == dark[::-1]).all()


def test_text_is_as_wide_as_it_says_and_anchored() -> None:
    width = text_width("Straße 12", 14)
    for anchor, left in (("start", 150), ("middle", 150 - width / 2), ("end", 150 - width)):
        canvas = Canvas(300, 30, "#ffffff")
        canvas.text(150, 20, "Straße 12", 14, "#000000", anchor)  # type: ignore[arg-type]
        dark = places_of(pixels(canvas.png()), (0, 0, 0))
        assert dark[:, 0].min() == pytest.approx(left, abs=2)
        assert dark[:, 0].max() == pytest.approx(left + width, abs=2)
        assert dark[:, 1].max() == pytest.approx(20, abs=1)
        assert dark[:, 1].min() == pytest.approx(20 - 14, abs=1)


def test_every_letter_looks_different_and_unknown_ones_are_boxes() -> None:
    def drawn(letter: str) -> bytes:
        canvas = Canvas(30, 40, "#ffffff")
        canvas.text(4, 30, letter, 14, "#000000")
        return canvas.png()

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789äöüÄÖÜß.,:-_/·'()+%°© "
    assert len({drawn(letter) for letter in letters}) == len(letters)
    assert drawn("é") == drawn("e")
    assert drawn("字") == drawn("語") != drawn(" ")
