"""What Redshift cannot hold, found before anything is sent to it.

COPY would say only that some value is too long. A shape would even pass COPY and fail on its way into the table.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import String

from charging_assets.lake import PartitionFile
from charging_assets.model.tables import key_of
from charging_assets.model.tables.declare import MAX_WKB_BYTES, Geometry
from charging_assets.warehouse.contract import WarehouseError
from charging_assets.warehouse.redshift.ddl import MAX_TEXT_BYTES

_NAMED = 10
"""Rows that a message names at most."""
_SHOWN = 60
"""Characters of a value of the key that a message shows at most."""


def require_fitting(file: PartitionFile, columns: list[str]) -> None:
    """Check that every text and shape of the file fits.

    Args:
        file: it is read once, but for its numbers and times.
        columns: those that the file has.

    Raises:
        WarehouseError: some do not; the message names the column and rows by their key.
        LakeError: the file is damaged.
    """
    limits = {
        name: MAX_WKB_BYTES if isinstance(kind, Geometry) else MAX_TEXT_BYTES
        for name, kind in ((name, file.table.columns[name].type) for name in columns)
        if isinstance(kind, Geometry | String)
    }
    if not limits:
        return
    for batch in file.batches(list(limits)):
        for name, limit in limits.items():
            if _longest(batch[name]) > limit:
                raise WarehouseError(_refusal(file, name, limit))


def _longest(values: pa.Array) -> int:
    """Bytes of the longest value."""
    each = values.dictionary if pa.types.is_dictionary(values.type) else values
    return pc.max(pc.binary_length(each)).as_py() or 0


def _refusal(file: PartitionFile, name: str, limit: int) -> str:
    key = key_of(file.table)
    count = 0
    named: list[dict[str, Any]] = []
    for batch in file.batches(list(dict.fromkeys([*key, name]))):
        values = batch[name]
        each = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        long = batch.filter(pc.greater(pc.binary_length(each), limit))
        count += long.num_rows
        named += long.slice(0, _NAMED - len(named)).select(key).to_pylist()
    rows = "; ".join(", ".join(f"{column} {_shown(value)}" for column, value in row.items()) for row in named)
    what = "shapes of the column" if isinstance(file.table.columns[name].type, Geometry) else "values of the column"
    return (
        f"{file.uri}: {count} {what} {name!r} are larger than Redshift takes ({limit:,} bytes), at {rows}"
        f"{' and more' if count > len(named) else ''}; nothing was loaded. Make them smaller where they come from, "
        "then build and publish again; the lake and PostgreSQL hold them as they are."
    )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
