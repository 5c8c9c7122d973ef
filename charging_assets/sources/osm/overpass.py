"""Points of interest of one city after another: its boundary from Nominatim, what stands within it from Overpass.

osmnx asks and makes geometries of the answers. Belongs here: what osmnx leaves to its users, i.e. an end to waiting,
broken and partial answers told from good ones, and its global state put back. Does not belong here: which tags are
asked for (`categories`) and what becomes of a city's features.

Overpass is asked without `meta`, as osmnx fixes `out;`: `osm_version` and `osm_time` are null. Features whose geometry
osmnx cannot build (relations with missing members) are not in its answer.
"""

import dataclasses
import datetime as dt
import functools
import http.client
import itertools
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj
import requests
import shapely
import shapely.geometry
import urllib3

from charging_assets import __version__
from charging_assets.sources.connection import DeadlineAdapter, causes, cut_at
from charging_assets.sources.osm.cities import city_query
from charging_assets.sources.osm.features import FEATURES

CONNECT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 180
"""How long Overpass may work on one query; it says nothing until it is done."""
READ_SLACK_S = 20
"""What an answer may take longer than its query."""
CITY_DEADLINE_S = 900.0
ATTEMPTS = 3
BUSY_PAUSE_S = 30.0
"""Wait before the second attempt, twice that before the third. Overpass' keepers ask for at least this after a 429."""
LONLAT_CRS = 4326
METRIC_CRS = 25832
"""ETRS89 / UTM zone 32N: metres, right within 0.2 % in all of Germany."""
SIMPLIFIED_M = 25.0
"""How far a boundary may be moved to have fewer corners: osmnx repeats them all three times for each value of a tag."""

Outcome = Literal["ok", "empty", "partial", "failed"]
_Result = TypeVar("_Result")

_MUNICIPALITIES = frozenset({"city", "town", "village", "municipality", "administrative"})
"""Nominatim's types of what has a feed; its old versions call every boundary `administrative`."""
_RESERVED = frozenset({"element", "geometry", "id", "members"})
"""Tags that osmnx takes for its own fields: one POI tagged `id=…` would cost the whole city."""
_SHELTER = "tag named "

_using_osmnx = threading.Lock()
"""osmnx keeps settings in globals and replaces `socket.getaddrinfo`: one city at a time in a process."""


@dataclasses.dataclass(frozen=True, slots=True)
class CityPois:
    """What one city gave."""

    city: str
    name: str
    """What Nominatim was asked for."""
    features: pa.Table
    """Of the schema `FEATURES`; has no rows unless `outcome` is `ok` or `partial`."""
    outcome: Outcome
    """`ok`; `empty`: good answers without any feature; `partial`: Overpass gave up within an answer; `failed`."""
    reason: str | None
    """Why it is not `ok`, and which of several cities of one name was taken."""
    requests: int
    """How often Nominatim and Overpass were asked; 0 when all came from the cache."""
    polygon_area_km2: float | None
    """Of the city's own boundary, without the buffer."""
    asked_at: dt.datetime


class OverpassSource:
    """Nominatim and Overpass at one address each.

    Args:
        overpass_url: Up to and without `/interpreter`, e.g. `https://overpass-api.de/api`.
        nominatim_url: Up to and without `/search`.
        contact: Mail address or URL for the User-Agent; overpass-api.de refuses clients that do not say who they are.
        cache_dir: Folder for good answers, one per refresh: within it nothing is asked twice.
        tag_filter: OpenStreetMap keys, each with its values, or True for any value.
        buffer_m: Metres around the boundary in which features are wanted, the largest radius of the matching: stations
            stand at the edge, too. Some come from up to 55 m farther.
        pause_s: Seconds at least before each request.
        deadline_s: Seconds for one city, pauses included.
        sleep: Waits so many seconds.
        clock: Seconds that pass, `sleep` included.
    """

    def __init__(
        self,
        overpass_url: str,
        nominatim_url: str,
        contact: str | None,
        cache_dir: Path,
        tag_filter: Mapping[str, list[str] | bool],
        buffer_m: float,
        pause_s: float = 2.0,
        deadline_s: float = CITY_DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings: Mapping[str, object] = {
            "overpass_url": overpass_url,
            "nominatim_url": nominatim_url,
            "http_user_agent": f"charging_assets/{__version__}" + (f" (+{contact})" if contact else ""),
            "http_accept_language": "de",
            "use_cache": True,
            "cache_folder": cache_dir,
            "cache_only_mode": False,
            "requests_timeout": QUERY_TIMEOUT_S,
            "overpass_rate_limit": True,
            "doh_url_template": None,  # who cannot resolve the name is not to ask 8.8.8.8 for it
        }
        self._cache_dir = cache_dir
        self._tag_filter: dict[str, bool | str | list[str]] = dict(tag_filter)
        self._buffer_m = buffer_m
        self._new_web = functools.partial(_Web, pause_s, deadline_s, sleep, clock)

    def fetch(self, city: str) -> CityPois:
        """Ask for one city's features; what goes wrong with it is its outcome, never an exception.

        Waits for other cities that are being fetched in this process, and then at most the deadline.
        """
        with _using_osmnx:
            web = self._new_web()
            answer = CityPois(
                city=city,
                name=city_query(city),
                features=FEATURES.empty_table(),
                outcome="failed",
                reason=None,
                requests=0,
                polygon_area_km2=None,
                asked_at=dt.datetime.now(dt.UTC),
            )
            with closing(web), _osmnx_set(self._settings, web), cut_at(time.monotonic() + web.seconds_left):
                answer = self._fetch(answer, web)
            return dataclasses.replace(answer, requests=web.requests)

    def _fetch(self, answer: CityPois, web: "_Web") -> CityPois:
        try:
            place, choice = web.persist(lambda: _find(answer.name))
            area, area_km2 = _surroundings(place, self._buffer_m)
            answer = dataclasses.replace(answer, reason=choice, polygon_area_km2=area_km2)
            found = web.persist(lambda: _features(area, self._tag_filter))
        except _AskingError as error:
            return dataclasses.replace(answer, reason=_joined(str(error), answer.reason))
        except OSError as error:
            return dataclasses.replace(answer, reason=f"the answers cannot be kept in {self._cache_dir}: {error}")
        except Exception as error:  # noqa: BLE001 - one city's answers must not cost the others; osmnx raises KeyError and more
            what = f"osmnx cannot read the answers kept in {self._cache_dir}: {type(error).__name__}: {error}"
            return dataclasses.replace(answer, reason=_joined(what[:500], answer.reason))
        outcome: Outcome = "partial" if web.remark else "ok" if found.num_rows else "empty"
        reason = {
            "partial": f"Overpass gave up within an answer: {web.remark}",
            "empty": "Overpass knows nothing there that has one of the tags",
        }.get(outcome)
        return dataclasses.replace(answer, features=found, outcome=outcome, reason=_joined(reason, answer.reason))


class _AskingError(Exception):
    """A city cannot be had, in a sentence."""


class _TransientError(_AskingError):
    """Asking again may help."""

    def __init__(self, sentence: str, retry_after_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class _Web:
    """What osmnx's modules find under the name `requests` while one city is asked for.

    osmnx would wait for ever where it is refused, read HTML as JSON, and keep what it cannot use. So every answer is
    judged before osmnx sees it, and every wait ends before the deadline.
    """

    Request = requests.Request

    def __init__(
        self, pause_s: float, deadline_s: float, sleep: Callable[[float], None], clock: Callable[[], float]
    ) -> None:
        self.requests = 0
        self.remark: str | None = None
        self._pause_s = pause_s
        self._deadline_s = deadline_s
        self._sleep = sleep
        self._clock = clock
        self._deadline = clock() + deadline_s
        self._session = requests.Session()
        self._session.mount("https://", DeadlineAdapter())
        self._session.mount("http://", DeadlineAdapter())
        self._trouble = "nothing came"

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - self._clock())

    def get(self, url: str, **options: Any) -> requests.Response:
        return self._ask("GET", url, options)

    def post(self, url: str, **options: Any) -> requests.Response:
        return self._ask("POST", url, options)

    def close(self) -> None:
        self._session.close()

    def sleep(self, seconds: float) -> None:
        """Stands for `time.sleep` in osmnx, which waits for free slots, and before each request.

        Raises:
            _AskingError: the deadline is nearer than that.
        """
        seconds = max(seconds, self._pause_s)
        if seconds >= self.seconds_left:
            raise self._too_late(f"; the next wait would be {seconds:.0f} s")
        self._sleep(seconds)

    def persist(self, step: Callable[[], _Result]) -> _Result:
        """The step's result, after pauses and further attempts where a server was busy or away.

        What was answered is in osmnx' cache: only the rest is asked again.
        """
        for attempt in itertools.count(1):
            self.remark = None  # what it was about is not in the cache, and asked again
            try:
                return step()
            except _TransientError as error:
                if attempt == ATTEMPTS:
                    raise _AskingError(f"{error} after {ATTEMPTS} attempts") from error
                self._trouble = str(error)
                self.sleep(max(BUSY_PAUSE_S * attempt, error.retry_after_s))
        raise AssertionError("unreachable")

    def _ask(self, method: str, url: str, options: dict[str, Any]) -> requests.Response:
        host = urlsplit(url).netloc.rpartition("@")[2]
        left = self.seconds_left
        if not left:
            raise self._too_late()
        options["timeout"] = (min(CONNECT_TIMEOUT_S, left), min(QUERY_TIMEOUT_S + READ_SLACK_S, left))
        self.requests += 1
        try:
            response = self._session.request(method, url, **options)
        except requests.RequestException as fault:
            if not self.seconds_left:
                raise self._too_late() from fault
            raise _TransientError(_explain(fault, host)) from fault
        if not self.seconds_left:  # without a length, a cut looks like the answer's end
            raise self._too_late()
        if url.endswith("/status"):
            _judge_status(response)
            return response
        _judge_http(response, host)
        if url.endswith("/interpreter"):
            self._judge_overpass(response, host)
        else:
            _decoded(response, host, "a list of places", list[_Place])
        return response

    def _judge_overpass(self, response: requests.Response, host: str) -> None:
        answer = _decoded(response, host, "an object with a list `elements`", _Elements)
        self.remark = answer.remark or self.remark
        if any(_RESERVED & element.tags.keys() for element in answer.elements):
            response._content = _sheltered(response.content)

    def _too_late(self, why: str = "") -> _AskingError:
        return _AskingError(f"no complete answer within {self._deadline_s:g} s: {self._trouble}{why}")


class _Element(msgspec.Struct):
    type: Literal["node", "way", "relation"]
    id: int
    tags: dict[str, str] = {}


class _Elements(msgspec.Struct):
    elements: list[_Element]
    remark: str | None = None


class _Place(msgspec.Struct):
    """One of Nominatim's results, with what decides between them."""

    geojson: dict[str, Any] = {}
    display_name: str = ""
    importance: float | None = None
    type: str = ""
    addresstype: str = ""

    @property
    def kind(self) -> str:
        return self.addresstype or self.type

    @property
    def is_in_germany(self) -> bool:
        return self.display_name.rpartition(",")[2].strip() in {"", "Deutschland", "Germany"}

    @property
    def is_area(self) -> bool:
        return self.geojson.get("type") in {"Polygon", "MultiPolygon"}


@contextmanager
def _osmnx_set(settings: Mapping[str, object], web: _Web) -> Iterator[None]:
    """Make osmnx take these settings, ask and wait through `web`; all of it is as before in the end."""
    from osmnx import _nominatim, _overpass  # noqa: PLC0415 - takes seconds
    from osmnx import settings as osmnx_settings  # noqa: PLC0415

    swaps: list[tuple[Any, str, object]] = [(osmnx_settings, name, value) for name, value in settings.items()]
    for module in (_nominatim, _overpass):
        swaps += [(module, "requests", web), (module, "time", SimpleNamespace(sleep=web.sleep))]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in swaps]
    before.append((socket, "getaddrinfo", socket.getaddrinfo))
    try:
        for owner, name, value in swaps:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _find(query: str) -> tuple[_Place, str | None]:
    """The city's place, and what had to be chosen.

    `osmnx.geocode_to_gdf` gives the most important area, which may be the district of that name, and hides the others.
    """
    from osmnx import _nominatim  # noqa: PLC0415 - takes seconds

    places = msgspec.convert(_nominatim._download_nominatim_element(query, limit=50), list[_Place])
    places = [place for place in places if place.is_in_germany]
    places.sort(key=lambda place: -(place.importance or 0.0))
    if not places:
        raise _AskingError(f"Nominatim knows no {query!r}: check the feed's name")
    areas = [place for place in places if place.is_area]
    if not areas:
        raise _AskingError(f"Nominatim knows no boundary of {query!r}, only a point: {places[0].display_name}")
    towns = [place for place in areas if place.kind in _MUNICIPALITIES]
    if not towns:
        return areas[0], f"no municipality has that name: took the {areas[0].kind or 'area'} {areas[0].display_name}"
    chosen = towns[0]
    others = sorted({place.display_name for place in towns} - {chosen.display_name})
    if not others:
        return chosen, None
    rest = others[0] if len(others) == 1 else f"{len(others)} others"
    return chosen, f"took the most important place of that name, {chosen.display_name}, not {rest}"


def _surroundings(place: _Place, buffer_m: float) -> tuple[shapely.Geometry, float]:
    """An area with few corners that holds all within `buffer_m` of the place, and the place's own area in km2."""
    boundary = shapely.make_valid(shapely.geometry.shape(place.geojson))
    to_metric = pyproj.Transformer.from_crs(LONLAT_CRS, METRIC_CRS, always_xy=True)
    to_lonlat = pyproj.Transformer.from_crs(METRIC_CRS, LONLAT_CRS, always_xy=True)
    metric = shapely.transform(boundary, to_metric.transform, interleaved=False)
    wide = (buffer_m + SIMPLIFIED_M) * 1.002  # round corners are made of chords, up to 0.12 % within the circle
    around = metric.buffer(wide).simplify(SIMPLIFIED_M)
    return shapely.transform(around, to_lonlat.transform, interleaved=False), metric.area / 1e6


def _features(area: shapely.Geometry, tag_filter: dict[str, bool | str | list[str]]) -> pa.Table:
    from osmnx import features_from_polygon  # noqa: PLC0415 - takes seconds
    from osmnx._errors import InsufficientResponseError  # noqa: PLC0415

    try:
        found = features_from_polygon(area, tag_filter)
    except InsufficientResponseError:  # all answers were judged: nothing is there
        return FEATURES.empty_table()
    # areas above 2,500 km2 are asked for in parts, and what lies in two of them comes twice
    found = found[~found.index.duplicated()].sort_index()
    columns = {
        "element": found.index.get_level_values("element"),
        "osm_id": found.index.get_level_values("id"),
        "geom": shapely.to_wkb([_one_kind(shape) for shape in found.geometry], byte_order=1),
        "tags": _tags(found.drop(columns="geometry")),
        "osm_version": pa.nulls(len(found), pa.int32()),
        "osm_time": pa.nulls(len(found), pa.timestamp("us", tz="UTC")),
    }
    return pa.table(columns, schema=FEATURES)


def _tags(columns: pd.DataFrame) -> list[str]:
    """Each row's tags as JSON, of a table with a column per tag that any row has."""
    tags: list[dict[str, str]] = [{} for _ in range(len(columns))]
    for column in columns:
        values = columns[column].to_numpy()
        for row in np.flatnonzero(columns[column].notna()):
            tags[row][column.removeprefix(_SHELTER)] = values[row]
    return [json.dumps(one, ensure_ascii=False, sort_keys=True) for one in tags]


def _one_kind(shape: shapely.Geometry) -> shapely.Geometry:
    """A repaired shape without the lines and points that the repair left beside its areas."""
    if shape.geom_type != "GeometryCollection":
        return shape
    parts = shapely.get_parts(shape)
    dimensions = shapely.get_dimensions(parts)
    return shapely.union_all(parts[dimensions == dimensions.max()])


def _judge_http(response: requests.Response, host: str) -> None:
    status = response.status_code
    if status == http.client.OK:
        return
    sentence = f"{host} answers HTTP {status}{_excerpt(response)}"
    if status == http.client.TOO_MANY_REQUESTS or status >= 500:
        wait = response.headers.get("Retry-After", "")
        raise _TransientError(sentence, float(wait[:9]) if wait.isascii() and wait.isdigit() else 0.0)
    if status in {http.client.FORBIDDEN, http.client.NOT_ACCEPTABLE}:
        sentence += " (it may want a contact in the User-Agent: set CHARGING_ASSETS_CONTACT)"
    raise _AskingError(sentence)


def _judge_status(response: requests.Response) -> None:
    """Tell osmnx when a server has no slots to wait for: it would take the next line for "all are taken", for ever."""
    if re.search(r"^Rate limit: 0$", response.text, re.MULTILINE):
        from osmnx import settings  # noqa: PLC0415 - takes seconds

        settings.overpass_rate_limit = False


def _decoded(response: requests.Response, host: str, expected: str, form: type[_Result]) -> _Result:
    try:
        return msgspec.json.decode(response.content, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _TransientError(f"expected {expected} from {host}, got{_excerpt(response, '')} ({error})") from error


def _sheltered(content: bytes) -> bytes:
    """An answer whose reserved tags have other names until `_table` reads them."""
    answer = msgspec.json.decode(content)
    for element in answer["elements"]:
        tags = element.get("tags", {})
        for name in _RESERVED & tags.keys():
            tags[_SHELTER + name] = tags.pop(name)
    return msgspec.json.encode(answer)


def _excerpt(response: requests.Response, before: str = ":") -> str:
    """The beginning of an answer that is not what it should be, without HTML's tags."""
    text = response.content[:4000].decode("utf-8", errors="replace")
    text = " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split())
    return f"{before} {text[:200]}" if text else f"{before} nothing"


def _explain(fault: requests.RequestException, host: str) -> str:
    """A sentence without the texts of `requests` and `urllib3`, which are nested representations of objects."""
    for cause in causes(fault):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"the certificate of {host} is not trusted: {cause.verify_message}"
            case socket.gaierror():
                return f"no connection to {host}: the name cannot be resolved"
            case urllib3.exceptions.TimeoutError() | TimeoutError() if not isinstance(
                cause, urllib3.exceptions.NewConnectionError
            ):
                return f"no answer from {host} in time"
            case urllib3.exceptions.IncompleteRead() | http.client.IncompleteRead():
                return f"the answer of {host} broke off"
            case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return f"{host} closed the connection without an answer"
            case OSError(errno=int(number)):
                return f"no connection to {host}: {os.strerror(number).lower()}"
    return f"{host} cannot be asked: {type(fault).__name__}"


def _joined(*reasons: str | None) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None
