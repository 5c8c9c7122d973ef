"""The picture of a week: how busy the observed charging points are, by weekday and local hour.

Belongs here: drawing. Does not belong here: the figures, which are those of `usage_profile`.
"""

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc

from charging_assets.model.tables.occupancy import LEAST_COVERAGE

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
COLOURS = ("#fbf8e9", "#d3ebd0", "#7bcbc4", "#2f97bf", "#22589f", "#12295f")
_WIDTH, _LEFT, _TOP, _CELL, _GAP = 900, 70, 92, 33, 2
_LEGEND_Y = _TOP + 7 * _CELL + 48
_HEIGHT = _LEGEND_Y + 56
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
DARK = 0.66
"""Above this share of the scale text is white: dark text would be hard to read there, and white below."""
HATCH = (
    '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="7" height="7" fill="#f1f1ef"/><rect width="2" height="7" fill="#b9b9b4"/></pattern></defs>'
)
_UNOBSERVED = {"utilization": None, "coverage": None}


def heatmap(profile: pa.Table, note: str) -> str:
    """The week as SVG: a cell per hour, its figure in percent, hatched where too little was observed.

    Args:
        profile: rows of one scope, as in `usage_profile`; hours that are absent were not observed.
        note: where the data comes from.
    """
    hours = {(row["weekday"], row["hour_local"]): row for row in profile.to_pylist()}
    most = pc.max(profile["utilization"]).as_py() or 0.0
    top = max(0.05, -(-most // 0.05) * 0.05)  # of the scale: the next 5 %
    observed_s, unknown_s = (
        sum(pc.sum(profile[name]).as_py() or 0 for name in names)
        for names in (("occupied_s", "free_s", "fault_s"), ("unknown_s",))
    )
    made = f"{100 * observed_s / max(observed_s + unknown_s, 1):.1f} % of the points' time was observed"
    frame = f'width="{_WIDTH}" height="{_HEIGHT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {frame} viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="{FONT}">',
            f"<title>{escape(f'Occupied charging points by weekday and hour; {note}')}</title>",
            HATCH,
            f'<rect {frame} rx="8" fill="#ffffff"/>',
            _text(30, 42, "How busy are the charging points?", 22, colour="#1c1c1a", weight=600),
            _text(30, 68, f"Occupied share of the observed points, in percent, by local hour · {note}", 14),
            *(_text(_LEFT - 12, _TOP + row * _CELL + 21, day, 13, anchor="end") for row, day in enumerate(_WEEKDAYS)),
            *(_text(_LEFT + hour * _CELL, _TOP + 7 * _CELL + 18, f"{hour}", 12, "middle") for hour in range(0, 25, 3)),
            *(
                _cell(weekday, hour, hours.get((weekday + 1, hour), _UNOBSERVED), top)
                for weekday in range(7)
                for hour in range(24)
            ),
            *_legend(top, made),
            "</svg>\n",
        ]
    )


def _cell(weekday: int, hour: int, row: Mapping[str, Any], top: float) -> str:
    x, y, share = _LEFT + hour * _CELL, _TOP + weekday * _CELL, row["utilization"]
    seen = f"{int(100 * (row['coverage'] or 0))} % observed"  # not rounded up to what would be enough
    told = seen if share is None else f"{100 * share:.1f} % occupied, {seen}"
    fill = "url(#hatch)" if share is None else shade(share / top)
    number = ""
    if share is not None:
        colour = "#ffffff" if share / top > DARK else "#33332f"
        number = _text(x + _CELL / 2, y + 20.5, f"{100 * share:.0f}", 12, "middle", colour)
    box = f'x="{x + _GAP / 2:g}" y="{y + _GAP / 2:g}" width="{_CELL - _GAP}" height="{_CELL - _GAP}"'
    return f'<g><title>{_WEEKDAYS[weekday]} {hour}:00: {told}</title><rect {box} rx="3" fill="{fill}"/>{number}</g>'


def _legend(top: float, coverage: str) -> list[str]:
    steps, width = 40, 5
    bar = [
        f'<rect x="{_LEFT + step * width}" y="{_LEGEND_Y}" width="{width + 0.5}" height="12" '
        f'fill="{shade(step / (steps - 1))}"/>'
        for step in range(steps)
    ]
    ticks = [
        _text(_LEFT + steps * width * part / 2, _LEGEND_Y + 30, f"{100 * top * part / 2:.3g} %", 12, "middle")
        for part in range(3)
    ]
    x = _LEFT + steps * width + 36
    return [
        *bar,
        *ticks,
        f'<rect x="{x}" y="{_LEGEND_Y - 3}" width="18" height="18" rx="3" fill="url(#hatch)"/>',
        _text(x + 28, _LEGEND_Y + 11, f"less than {100 * LEAST_COVERAGE:.0f} % observed: no figure", 13),
        _text(x + 28, _LEGEND_Y + 32, coverage, 13),
    ]


def shade(share: float) -> str:
    """The colour at `share` of the scale, from 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(COLOURS) - 1)
    index = min(int(place), len(COLOURS) - 2)
    low, high = (bytes.fromhex(COLOURS[number][1:]) for number in (index, index + 1))
    return "#" + bytes(round(a + (b - a) * (place - index)) for a, b in zip(low, high, strict=True)).hex()


def _text(
    x: float, y: float, text: str, size: int, anchor: str = "start", colour: str = "#5b5b56", weight: int = 400
) -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'
