"""The picture of stations and what stands around them, drawn without a map below: its shapes are the map."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from charging_assets.derive.poi_matching import GERMANY
from charging_assets.reports.canvas import Canvas, text_width

ATTRIBUTION = "POIs © OpenStreetMap contributors"
SIMULATED = "simulated stations and POIs"
"""Notes for below the map."""

_WIDTH, _HEIGHT = 1000, 720
_MAP = (20, 66, 712, 660)
"""Left, top, right and bottom of the map; the legend is to the right of it."""
_LEGEND_X, _LINE = 736, 26
_MARGIN = 24
"""Around what is shown, within the map."""
_GRID_PIXELS = 180
"""Between lines of the grid, at the most; it can be 40 % of that."""

_PAPER, _GROUND, _GRID, _INK, _GREY = "#ffffff", "#f6f6f2", "#e2e2dc", "#1c1c1a", "#5b5b56"
_WITH_POI, _WITHOUT_POI = "#ffd21f", "#ffffff"
_COLOURS = (
    *("#d1495b", "#2e86ab", "#3c9d4e", "#e58a1f", "#7b4fa3", "#1fa39a"),
    *("#b5651d", "#e377b8", "#4056a1", "#8aa31f", "#a3243b", "#5fa8d3"),
)
_OTHER = "#9a9a94"
"""Of categories for which there is no colour left."""

_LEAST_AREA = 5.0
"""Pixels of height or width from which an area is drawn as one; smaller ones are dots."""
_SIZES = ((400, 3.2, 5.2), (4_000, 2.3, 4.2), (40_000, 1.5, 2.4), (math.inf, 0.8, 1.3))
"""Up to how many dots have which radius in pixels, as POIs and as stations."""
_METRES_PER_DEGREE = 111_250.0
"""Of latitude, in Germany to 0.1 %."""
_LEAST_M = 500.0
"""Height and width of what is shown, at the least."""

Floats = NDArray[np.float64]
Shapes = NDArray[np.object_]


def poi_map(stations: pa.Table, pois: pa.Table, mapping: pa.Table | None = None, note: str = ATTRIBUTION) -> bytes:
    """Draw stations and POIs, coloured by category, as a PNG of 1000 x 720 pixels.

    What has no place in Germany is not shown, but counted. The same tables give the same picture.

    Args:
        stations: `id_cs`, `longitude` and `latitude` in degrees.
        pois: `geom` (WKB, degrees) and `poi_category`.
        mapping: `id_cs` of the stations that have a POI within its radius (`mapping_poi_cs`); without it stations are
            not told apart.
        note: whom the POIs are from, below the map.
    """
    shapes, categories = _shapes(pois)
    points, has_poi = _stations(stations, mapping)
    canvas = Canvas(_WIDTH, _HEIGHT, _PAPER)
    left, top, right, bottom = _MAP
    canvas.fill(shapely.box(*_MAP), _GROUND)
    names = sorted(set(categories.tolist()))
    colours = dict(zip(names, [*_COLOURS, *[_OTHER] * len(names)], strict=False))
    if len(points) or len(shapes):
        view = _View(points, shapes)
        dot = next(radius for most, radius, _ in _SIZES if len(shapes) <= most)
        _draw_grid(canvas, view)
        for name in sorted(names, key=lambda name: -int((categories == name).sum())):  # the rarer ones on top
            _draw_pois(canvas, view.pixels_of(shapes[categories == name]), colours[name], dot)
        _draw_stations(canvas, view.pixels(points), has_poi)
        _draw_degrees(canvas, view)
        _draw_scale(canvas, view)
    else:
        canvas.text((left + right) / 2, (top + bottom) / 2, "No stations and no POIs yet", 11, _GREY, "middle")
    canvas.text(left, 34, "Charging stations and points of interest", 13, _INK, weight=1.5)
    canvas.text(left, 55, _told(len(stations), len(points), len(pois), len(shapes)), 9, _GREY)
    _draw_legend(canvas, colours, categories, None if mapping is None else has_poi, len(points))
    canvas.text(right, _HEIGHT - 22, note, 9, _GREY, "end")
    return canvas.png()


def _told(stations: int, shown_stations: int, pois: int, shown_pois: int) -> str:
    text = f"{shown_stations:,} stations · {shown_pois:,} POIs"
    missing = (stations - shown_stations, pois - shown_pois)
    return f"{text} · not shown, for want of a place: {missing[0]:,} and {missing[1]:,}" if any(missing) else text


# -- what is shown ---------------------------------------------------------------------------------------------------


def _shapes(pois: pa.Table) -> tuple[Shapes, NDArray[np.object_]]:
    """Those in Germany, in degrees, and their categories."""
    with np.errstate(invalid="ignore"):  # NaN has no bounds, and is left out below
        shapes = shapely.from_wkb(pois["geom"].to_numpy(), on_invalid="ignore")
    bounds = shapely.bounds(shapes)
    is_shown = _within(bounds[:, :2]) & _within(bounds[:, 2:])
    categories = pc.fill_null(pois["poi_category"].cast(pa.string()), "without a category").to_numpy()
    return shapes[is_shown], categories[is_shown]


def _stations(stations: pa.Table, mapping: pa.Table | None) -> tuple[Floats, NDArray[np.bool_]]:
    """Places of those in Germany, in degrees, (n, 2); and which have a POI."""
    degrees = np.column_stack(
        [stations[name].cast(pa.float64()).fill_null(np.nan).to_numpy() for name in ("longitude", "latitude")]
    )
    is_shown = _within(degrees)
    has_poi = np.ones(len(stations), bool)
    if mapping is not None:
        has_poi = pc.is_in(stations["id_cs"], value_set=pc.unique(mapping["id_cs"])).to_numpy()
    return degrees[is_shown], has_poi[is_shown]


def _within(degrees: Floats) -> NDArray[np.bool_]:
    west, south, east, north = GERMANY
    inside: NDArray[np.bool_] = np.all((degrees >= (west, south)) & (degrees <= (east, north)), axis=1)
    return inside


class _View:
    """Which part of the world is shown, and where it is in the picture; north is up, east to the right."""

    def __init__(self, points: Floats, shapes: Shapes) -> None:
        corners = np.vstack([points, shapely.bounds(shapes).reshape(-1, 2)])
        low, high = corners.min(axis=0), corners.max(axis=0)
        left, top, right, bottom = _MAP
        self._centre = np.array([(left + right) / 2, (top + bottom) / 2])
        self._middle = (low + high) / 2
        metres = np.array([np.cos(np.radians(self._middle[1])), 1.0]) * _METRES_PER_DEGREE
        room = 2 * (self._centre - (left + _MARGIN, top + _MARGIN))
        self.metres_per_pixel = float((np.maximum((high - low) * metres, _LEAST_M) / room).max())
        self._pixels_per_degree = metres / self.metres_per_pixel * (1, -1)

    def pixels(self, degrees: Floats) -> Floats:
        """Places in the picture, (n, 2)."""
        places: Floats = (degrees - self._middle) * self._pixels_per_degree + self._centre
        return places

    def pixels_of(self, shapes: Shapes) -> Shapes:
        """Shapes in the picture."""
        moved: Shapes = shapely.transform(shapes, self.pixels)
        return moved

    def degrees(self, pixels: Floats) -> Floats:
        """Longitude and latitude, (n, 2)."""
        places: Floats = (pixels - self._centre) / self._pixels_per_degree + self._middle
        return places


# -- drawing ---------------------------------------------------------------------------------------------------------


def _draw_grid(canvas: Canvas, view: _View) -> None:
    """Lines of round degrees, as nothing else tells where this is."""
    left, top, right, bottom = _MAP
    meridians, parallels = _degrees(view)
    for x, _ in meridians:
        canvas.fill(shapely.box(x - 0.5, top, x + 0.5, bottom), _GRID)
    for y, _ in parallels:
        canvas.fill(shapely.box(left, y - 0.5, right, y + 0.5), _GRID)


def _draw_degrees(canvas: Canvas, view: _View) -> None:
    """What the lines are, above whatever is there."""
    left, top, right, bottom = _MAP
    meridians, parallels = _degrees(view)
    for x, name in meridians:
        if left + 16 < x < right - 16:
            canvas.text(x, bottom + 16, f"{name} E", 8, _GREY, "middle")
    for y, name in parallels:
        if top + 20 < y < bottom - 60:
            canvas.text(left + 6, y - 5, f"{name} N", 8, _GREY)


def _degrees(view: _View) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Round degrees within the map, east and north: the pixel each is at, and its name."""
    left, top, right, bottom = _MAP
    (west, north), (east, south) = view.degrees(np.array([[left, top], [right, bottom]], np.float64)).tolist()
    across = _round(_GRID_PIXELS * (east - west) / (right - left))
    up = _round(_GRID_PIXELS * (north - south) / (bottom - top))
    longitudes, latitudes = list(_multiples(across, west, east)), list(_multiples(up, south, north))
    xs = view.pixels(np.array([[value, north] for value in longitudes]).reshape(-1, 2))[:, 0].tolist()
    ys = view.pixels(np.array([[west, value] for value in latitudes]).reshape(-1, 2))[:, 1].tolist()
    return (
        [(x, f"{value:.{_digits(across)}f}°") for x, value in zip(xs, longitudes, strict=True)],
        [(y, f"{value:.{_digits(up)}f}°") for y, value in zip(ys, latitudes, strict=True)],
    )


def _digits(step: float) -> int:
    """Decimals that its multiples need."""
    return max(0, -math.floor(math.log10(step)))


def _multiples(step: float, low: float, high: float) -> list[float]:
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _draw_pois(canvas: Canvas, shapes: Shapes, colour: str, dot: float) -> None:
    bounds = shapely.bounds(shapes)
    is_large = (bounds[:, 2:] - bounds[:, :2] >= _LEAST_AREA).any(axis=1)
    for shape in shapely.get_parts(shapes[is_large]):
        if shapely.get_dimensions(shape) == 2:
            canvas.fill(shape, colour, 0.3)
            canvas.line(shapely.boundary(shape), colour, 1.1, 0.8)
        else:
            canvas.line(shape, colour, 2)
    centres = (bounds[~is_large, :2] + bounds[~is_large, 2:]) / 2
    canvas.dots(centres, dot, colour)


def _draw_stations(canvas: Canvas, points: Floats, has_poi: NDArray[np.bool_]) -> None:
    radius = next(radius for most, _, radius in _SIZES if len(points) <= most)
    canvas.dots(points, radius, _INK)
    for which, colour in ((~has_poi, _WITHOUT_POI), (has_poi, _WITH_POI)):
        canvas.dots(points[which], 0.65 * radius, colour)


def _draw_scale(canvas: Canvas, view: _View) -> None:
    metres = _round(150 * view.metres_per_pixel)
    width = metres / view.metres_per_pixel
    text = f"{metres / 1000:,g} km" if metres >= 1000 else f"{metres:g} m"
    x, y = _MAP[0] + 16, _MAP[3] - 16
    canvas.fill(shapely.box(x - 8, y - 26, x + max(width, text_width(text, 9)) + 8, y + 8), _PAPER, 0.85)
    canvas.line(shapely.LineString([(x, y - 6), (x, y), (x + width, y), (x + width, y - 6)]), _INK, 1.6)
    canvas.text(x + width / 2, y - 10, text, 9, _INK, "middle")


def _draw_legend(
    canvas: Canvas,
    colours: dict[str, str],
    categories: NDArray[np.object_],
    has_poi: NDArray[np.bool_] | None,
    count: int,
) -> None:
    rows = [(_INK, _WITH_POI, "charging station", count)]
    if has_poi is not None:
        with_poi = int(has_poi.sum())
        rows = [
            (_INK, _WITH_POI, "station with a POI near", with_poi),
            (_INK, _WITHOUT_POI, "station without", count - with_poi),
        ]
    y = float(_MAP[1] + 10)
    for ring, inner, text, number in rows:
        canvas.dots(np.array([[_LEGEND_X + 6.0, y]]), 6, ring)
        canvas.dots(np.array([[_LEGEND_X + 6.0, y]]), 3.6, inner)
        y = _legend_text(canvas, y, text, number)
    y += 10
    counts = {name: int((categories == name).sum()) for name in colours}
    for name in list(colours)[: len(_COLOURS)]:
        canvas.dots(np.array([[_LEGEND_X + 6.0, y]]), 5, colours[name])
        y = _legend_text(canvas, y, name, counts.pop(name))
    if counts:
        canvas.dots(np.array([[_LEGEND_X + 6.0, y]]), 5, _OTHER)
        _legend_text(canvas, y, f"{len(counts)} other categories", sum(counts.values()))


def _legend_text(canvas: Canvas, y: float, text: str, number: int) -> float:
    """One line; returns where the next one is."""
    canvas.text(_LEGEND_X + 22, y + 4.5, text, 9, _INK)
    canvas.text(_WIDTH - 20, y + 4.5, f"{number:,}", 9, _GREY, "end")
    return y + _LINE


def _round(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not larger."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor for factor in (1, 2, 5) if factor * power <= value) * power
