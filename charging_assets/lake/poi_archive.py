"""The archive of what OpenStreetMap gave: one file per refresh and city, written once, kept for ever.

Belongs here: which files there are and what their footers say of the refresh. Does not belong here: how features are
got (`sources.osm`), and what is made of them (`derive`).
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charging_assets.calendar import compact_text
from charging_assets.lake.errors import LakeError, SchemaMismatch, explained, readable
from charging_assets.lake.staging import stage_file
from charging_assets.lake.store import Entry, Store
from charging_assets.model.arrow import arrow_schema

_FOLDER = "raw_pois"
_SAID = b"charging_assets.refresh"
_CITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_REMEDY = "remove it, then refresh again"


@dataclass(frozen=True, slots=True)
class Refresh:
    """One city (or extract) of one refresh: what its file says of it."""

    refresh_id: str
    refreshed_at: dt.datetime
    source: str
    city: str
    outcome: str
    reason: str | None
    requests: int


@dataclass(frozen=True, slots=True)
class KeptRefresh:
    """A refresh and its file."""

    refresh: Refresh
    path: str
    features: int


class PoiArchive:
    """All refreshes of a lake. Several processes may use it at once."""

    def __init__(self, store: Store, staging_dir: Path) -> None:
        self._store, self._staging_dir = store, staging_dir

    def put(self, refresh: Refresh, features: pa.Table) -> KeptRefresh:
        """Keep what came of a city; `features` has the first columns of `raw_pois`, and no rows if it failed.

        Raises:
            SchemaMismatch: `features` has other columns.
            LakeError: the file cannot be written, or this refresh has one of the city already.
        """
        if not _CITY.fullmatch(refresh.city):
            raise LakeError(f"{refresh.city!r} cannot name a file: expected 1 to 64 letters, digits, '-' or '_'")
        rows = _with_refresh(refresh, features)
        said = json.dumps({**asdict(refresh), "refreshed_at": refresh.refreshed_at.isoformat()}, sort_keys=True)
        path = f"{_FOLDER}/{refresh.city}/{compact_text(refresh.refreshed_at)}_{refresh.refresh_id}.parquet"
        with stage_file(self._staging_dir) as staged, explained(f"Writing {staged.path}"):
            with pq.ParquetWriter(staged.path, rows.schema, compression="zstd") as writer:
                writer.write_table(rows)
                writer.add_key_value_metadata({_SAID: said})
            if not self._store.put_new(staged.path, path):
                raise LakeError(f"{path} is in the lake already: a refresh asks for a city once")
        return KeptRefresh(refresh, path, rows.num_rows)

    def refreshes(self) -> Sequence[KeptRefresh]:
        """All of them, oldest first.

        Raises:
            LakeError: a file is damaged.
        """
        return sorted(
            self._opened([entry.path for entry in self.entries()]),
            key=lambda kept: (kept.refresh.refreshed_at, kept.path),
        )

    def entries(self) -> Sequence[Entry]:
        """The files."""
        return [entry for entry in self._store.list(f"{_FOLDER}/") if entry.path.endswith(".parquet")]

    def fingerprint(self) -> str:
        """Changes whenever a file is added: a hex digest, or nothing when there are none."""
        paths = "\n".join(entry.path for entry in self.entries())
        return hashlib.sha256(paths.encode()).hexdigest() if paths else ""

    def read(self, kept: KeptRefresh, columns: Sequence[str] | None = None) -> pa.Table:
        """The features of a refresh, with the columns of `raw_pois` or some of them.

        Raises:
            LakeError: the file is damaged.
        """
        with closing(self._store.open(kept.path)) as source, readable(kept.path, _REMEDY):
            return pq.read_table(source, columns=columns, schema=arrow_schema("raw_pois"))

    def _opened(self, paths: Sequence[str]) -> Iterator[KeptRefresh]:
        for path, source in self._store.open_each(paths):
            if source is None:
                continue
            with closing(source), readable(path, _REMEDY):
                footer = pq.read_metadata(source)
                yield KeptRefresh(_refresh(path, footer.metadata or {}), path, footer.num_rows)


def _refresh(path: str, footer: Mapping[bytes, bytes]) -> Refresh:
    try:
        said: dict[str, Any] = json.loads(footer[_SAID])
        return Refresh(**{**said, "refreshed_at": dt.datetime.fromisoformat(said["refreshed_at"])})
    except (KeyError, TypeError, ValueError) as error:
        raise LakeError(
            f"{path} does not say which refresh it is of ({error!r}): another program, or another version, wrote it; "
            f"{_REMEDY}"
        ) from error


def _with_refresh(refresh: Refresh, features: pa.Table) -> pa.Table:
    schema = arrow_schema("raw_pois")
    given = [name for name in schema.names if name in features.column_names]
    if features.column_names != given or len(given) != len(schema) - 4:
        raise SchemaMismatch(
            f"raw_pois: expected the columns {', '.join(schema.names[:-4])}, got {', '.join(features.column_names)}"
        )
    values = (refresh.refresh_id, refresh.refreshed_at, refresh.source, refresh.city)
    for name, value in zip(schema.names[-4:], values, strict=True):
        features = features.append_column(name, pa.array([value] * len(features), pa.scalar(value).type))
    return features.cast(schema)
