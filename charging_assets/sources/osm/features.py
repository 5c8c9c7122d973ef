"""What both sources give: features of OpenStreetMap as they are tagged, before anything is made of them."""

import pyarrow as pa

ELEMENTS = ("node", "way", "relation")

FEATURES = pa.schema(
    [
        pa.field("element", pa.string(), nullable=False),
        pa.field("osm_id", pa.int64(), nullable=False),
        pa.field("geom", pa.binary()),
        pa.field("tags", pa.string(), nullable=False),
        pa.field("osm_version", pa.int32()),
        pa.field("osm_time", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row per feature, sorted by (element, osm_id), each once.

- `element`: `node`, `way` or `relation`; with `osm_id` it identifies the feature.
- `geom`: its shape as little-endian WKB, longitude and latitude; a point, a line (an open way) or a (multi)polygon.
  Null where none can be built, e.g. of a relation with missing members.
- `tags`: all of them, as a JSON object with sorted keys.
- `osm_version`, `osm_time`: of the last change; null where the source does not tell (Overpass without `meta`).
"""
