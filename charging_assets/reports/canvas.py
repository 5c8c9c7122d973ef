"""A small picture in memory: shapes, dots and text drawn with smooth edges, and saved as PNG.

Belongs here: drawing. Does not belong here: what a picture shows. Coordinates are pixels, x to the right and y
downwards, with (0, 0) at the corner of the first pixel. Colours are texts like ``#1c1c1a``.
"""

import struct
import unicodedata
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

_SAMPLES = 4
"""Per pixel and direction, of shapes: 16 shades of an edge."""

# Letters as strokes of a pen. A point is two digits, x and y; a stroke is a run of points. The base line is at y = 2,
# small letters reach up to 7 and capitals to 9, descenders down to 0.
_STROKES = """
.=02  ,=1201  :=02,06  -=0535  _=0141  /=0149  ·=05  '=0908  (=29070321  )=09272301  +=0545,2327  %=0249,08,43
°=0819281708  ©=220407295977745222,573726253454  0=120308193948433212  1=072922  2=08193948460242
3=08193948473616,364543321203  4=32390444  5=490906364543321203  6=4839190803123243453606  7=094912
8=16070819394847361605031232434536  9=0312324348391908061545  A=023962,1454  B=02094958574606,4655534202
C=5849190803124253  D=02093957543202  E=49090242,0636  F=490902,0636  G=58491908031242535535  H=0209,5259,0656
I=0209  J=3933221203  K=0209,4905,1642  L=090242  M=0209356962  N=02095259  O=120308194958534212
P=02094958564505  Q=120308194958534212,3452  R=02094958564505,3552  S=584919080716455453421203  T=0949,2922
U=090312425359  V=092249  W=0922486289  X=0942,0249  Y=092649,2622  Z=09490242  a=4742,4637170603123243
b=0902,0617374643321203  c=4637170603123243  d=4942,4637170603123243  e=05454637170603123243  f=39291812,0737
g=4741301001,4637170603123243  h=0902,0617374642  i=0207,09  j=171100,19  k=0902,3704,1532  l=090312
m=0702,0617273632,3647576662  n=0702,0617374642  o=120306173746433212  p=0700,0617374643321203
q=4740,4637170603123243  r=0702,061737  s=46371706153443321203  t=19132232,0737  u=0703123243,4742  v=072247
w=0712365267  x=0742,0247  y=0722,4710  z=07470242  ß=02081939483645433222
"""
_GLYPHS = {" ": "", **{glyph[0]: glyph[2:] for glyph in _STROKES.split()}}
_UNKNOWN = "0209494202"
_DIAERESIS = "\u0308"
_GAP, _SPACE = 2.2, 2.5
"""Between letters, and the width of a blank, in the letters' units."""


class Canvas:
    """A picture of `width` and `height` pixels."""

    def __init__(self, width: int, height: int, background: str) -> None:
        self._pixels = np.tile(np.array(_rgb(background), np.float32), (height, width, 1))

    def fill(self, shape: shapely.Geometry, colour: str, opacity: float = 1.0) -> None:
        """Fill a polygon, or several."""
        height, width, _ = self._pixels.shape
        if shape.is_empty:
            return
        left, top, right, bottom = shapely.bounds(shape)
        columns = np.arange(max(0, int(left)), min(width, int(right) + 1))
        rows = np.arange(max(0, int(top)), min(height, int(bottom) + 1))
        if not len(columns) or not len(rows):
            return
        part = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        x, y = (np.add.outer(places, part).ravel() for places in (columns, rows))
        shapely.prepare(shape)
        is_inside = shapely.contains_xy(shape, x[None, :], y[:, None])
        share = is_inside.reshape(len(rows), _SAMPLES, len(columns), _SAMPLES).mean(axis=(1, 3), dtype=np.float32)
        self._blend(self._pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], share * opacity, colour)

    def line(self, line: shapely.Geometry, colour: str, width: float, opacity: float = 1.0) -> None:
        """Draw a line, or a point as a dot, `width` pixels wide."""
        self.fill(shapely.buffer(line, width / 2, quad_segs=4), colour, opacity)

    def dots(self, centres: NDArray[np.float64], radius: float, colour: str) -> None:
        """Draw many equal dots; `centres` is (n, 2)."""
        height, width, _ = self._pixels.shape
        share = np.zeros((height, width), np.float32)
        first = np.floor(centres - radius - 0.5).astype(np.int64)
        for right in range(int(2 * radius) + 3):
            for down in range(int(2 * radius) + 3):
                pixel = first + np.array([right, down])
                distance = np.hypot(*(pixel + 0.5 - centres).T)
                drawn = (distance < radius + 0.5) & (pixel >= 0).all(axis=1) & (pixel < (width, height)).all(axis=1)
                x, y = pixel[drawn].T
                np.maximum.at(share, (y, x), np.minimum(1, radius + 0.5 - distance[drawn]).astype(np.float32))
        self._blend(self._pixels, share, colour)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        colour: str,
        anchor: Literal["start", "middle", "end"] = "start",
        weight: float = 1.0,
    ) -> None:
        """Write a line of text.

        Args:
            x: its start, middle or end, as `anchor` says.
            y: its base line.
            text: letters without a glyph are shown as a box, accents but umlauts' are left out.
            size: height of a capital letter in pixels.
            colour: of the text.
            anchor: what is at `x`.
            weight: of the strokes; 1 is normal, 1.5 is bold.
        """
        unit = size / 7
        x -= {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * text_width(text, size)
        for place, glyph in _placed(text):
            pen = shapely.buffer(glyph, 0.55 * weight, quad_segs=4)
            self.fill(shapely.affinity.affine_transform(pen, [unit, 0, 0, -unit, x + place * unit, y]), colour)

    def png(self) -> bytes:
        """The picture as a PNG file of at most 256 colours, which is a third as large as one of all colours."""
        height, width, _ = self._pixels.shape
        palette, index = _palette((self._pixels + 0.5).astype(np.uint8).reshape(-1, 3))
        rows = np.zeros((height, 1 + width), np.uint8)  # the first byte of a row: no filter
        rows[:, 1:] = index.reshape(height, width)
        header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
        parts = (
            (b"IHDR", header),
            (b"PLTE", palette.tobytes()),
            (b"IDAT", zlib.compress(rows.tobytes(), 9)),
            (b"IEND", b""),
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)

    @staticmethod
    def _blend(pixels: NDArray[np.float32], share: NDArray[np.float32], colour: str) -> None:
        pixels += share[:, :, None] * (np.array(_rgb(colour), np.float32) - pixels)


def text_width(text: str, size: float) -> float:
    """Width of a line of text in pixels, at `size` pixels of height of a capital letter."""
    *_, (end, _) = [(0.0, None), *((place + _width(glyph), glyph) for place, glyph in _placed(text))]
    return end * size / 7


def _placed(text: str) -> Iterator[tuple[float, shapely.Geometry]]:
    """The glyphs of a text, in their units, each with where it starts."""
    place = 0.0
    for letter in unicodedata.normalize("NFC", text):
        decomposed = unicodedata.normalize("NFD", letter)
        glyph = _glyph(decomposed[0], has_diaeresis=_DIAERESIS in decomposed)
        yield place, glyph
        place += _width(glyph) + _GAP


def _width(glyph: shapely.Geometry) -> float:
    return _SPACE if glyph.is_empty else float(shapely.bounds(glyph)[2])


@cache
def _glyph(letter: str, *, has_diaeresis: bool) -> shapely.Geometry:
    """Lines and points with the base line at 0."""
    strokes = []
    for stroke in filter(None, _GLYPHS.get(letter, _UNKNOWN).split(",")):
        points = [(int(x), int(y) - 2) for x, y in zip(stroke[::2], stroke[1::2], strict=True)]
        strokes.append(shapely.LineString(points) if len(points) > 1 else shapely.Point(points[0]))
    if has_diaeresis:
        right, top = shapely.bounds(shapely.GeometryCollection(strokes))[2:]
        strokes += [shapely.Point(right * share, top + 2) for share in (0.2, 0.8)]
    return shapely.GeometryCollection(strokes)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _palette(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The 256 most frequent colours, (256, 3), and which of them each pixel of (n, 3) is nearest to."""
    _, first, inverse, count = np.unique(
        pixels @ np.array([65_536, 256, 1]), return_index=True, return_inverse=True, return_counts=True
    )
    colours = pixels[first]
    palette = colours[np.argsort(-count, kind="stable")[:256]]
    all_, some = colours.astype(np.float32), palette.astype(np.float32)
    nearest = ((some**2).sum(axis=1) - 2 * all_ @ some.T).argmin(axis=1)  # the square of `all_` changes no order
    return palette, nearest.astype(np.uint8)[inverse]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
