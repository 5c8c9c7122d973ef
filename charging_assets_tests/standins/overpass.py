"""Nominatim and Overpass on loopback: real queries over given elements, and every fault that a test asks for.

What it cannot prove: which elements the real Overpass selects at a polygon's edge, how it limits and words its errors,
in which order the real Nominatim puts places of one name; name resolution and TLS.
"""

import ast
import contextlib
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import shapely
import shapely.geometry

Element = dict[str, Any]
"""As in Overpass' JSON: `type`, `id`, `tags`, and `lat` and `lon`, or `nodes`, or `members`."""

STATUS = """Connected as: 2130706433
Current time: 2026-11-26T12:00:00Z
Announced endpoint: none
Rate limit: 2
2 slots available now.
Currently running queries (pid, space limit, time limit, start time):
"""
GAVE_UP = 'runtime error: Query timed out in "query" at line 1 after 180 seconds.'

_QUERY = re.compile(r"\[out:json\]\[timeout:\d+\];\((?P<selections>.+)\);out;")
_SELECTION = re.compile(r"\((node|way|relation)\[(.+?)\]\(poly:'([-\d. ]+)'\);\(\._;>;\);\);")
_TEXT = r"""'[^']*'|"[^"]*\""""
_TAG = re.compile(rf"({_TEXT})(?:=({_TEXT}))?")


@dataclass(frozen=True)
class Reply:
    """What is answered once instead of the true answer."""

    status: int = 200
    body: bytes | None = None
    """None: the true one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Literal["remark", "silence", "drip header", "cut", "reset"] | None = None
    """`remark`: half of the elements, and that the server gave up. `cut`: half of the body."""


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]


def place(name: str, geometry: shapely.Geometry, **facts: object) -> dict[str, Any]:
    """One of Nominatim's results; `facts` replace fields, e.g. `importance` or `addresstype`."""
    west, south, east, north = geometry.bounds
    return {
        "place_id": 1,
        "osm_type": "relation",
        "osm_id": 1,
        "lat": str(geometry.centroid.y),
        "lon": str(geometry.centroid.x),
        "class": "boundary",
        "type": "administrative",
        "addresstype": "city",
        "importance": 0.5,
        "name": name,
        "display_name": f"{name}, Deutschland",
        "boundingbox": [str(south), str(north), str(west), str(east)],
        "geojson": shapely.geometry.mapping(geometry),
    } | facts


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes is no error here
            super().handle_error(request, client_address)


class OverpassStandin:
    """A threaded HTTP server with Nominatim at `nominatim_url` and Overpass at `overpass_url`.

    Use it as a context manager. `places` maps what Nominatim is asked for to its results; `replies` maps `search`,
    `status` or `interpreter` to replies in turn, after which the true answers come. Clients that do not say who they
    are get 406, as at overpass-api.de. `most_at_once` counts requests that were open side by side.
    """

    def __init__(
        self,
        elements: Iterable[Element],
        places: Mapping[str, Sequence[Mapping[str, Any]]],
        replies: Mapping[str, Sequence[Reply]] | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._map = _Map(elements)
        self._places = places
        self._replies = {name: list(some) for name, some in (replies or {}).items()}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.nominatim_url = f"http://{self.host}"
        self.overpass_url = f"http://{self.host}/api"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, name: str) -> int:
        """How often `search`, `status` or `interpreter` was asked."""
        return sum(request.path.rpartition("/")[2] == name for request in self.requests)

    def _answer(self, request: Request) -> tuple[int, bytes]:
        match request.path:
            case "/search" if request.parameters.get("format") == "json":
                limit = int(request.parameters.get("limit", "10"))
                return 200, json.dumps(self._places.get(request.parameters["q"], [])[:limit]).encode()
            case "/api/status":
                return 200, STATUS.encode()
            case "/api/interpreter":
                return self._evaluate(request.parameters.get("data", ""))
        return 404, b"<html><body>Not Found</body></html>"

    def _evaluate(self, query: str) -> tuple[int, bytes]:
        try:
            elements = self._map.evaluate(query)
        except ValueError as error:
            return 400, f"<html><body><p><strong>Error</strong>: parse error: {error}</p></body></html>".encode()
        answer = {"version": 0.6, "osm3s": {"timestamp_osm_base": "2026-11-26T11:59:00Z"}, "elements": elements}
        return 200, json.dumps(answer).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # it would cost 40 ms per answer

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._serve(parts.path, parts.query)

            def do_POST(self) -> None:
                self._serve(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _serve(self, path: str, parameters: str) -> None:
                pairs = {name: values[0] for name, values in parse_qs(parameters).items()}
                request = Request(path, dict(self.headers), pairs)
                with standin._lock:
                    standin.requests.append(request)
                    replies = standin._replies.get(path.rpartition("/")[2])
                    reply = replies.pop(0) if replies else Reply()
                    standin._at_once += 1
                    standin.most_at_once = max(standin.most_at_once, standin._at_once)
                try:
                    with contextlib.suppress(OSError):  # the client had enough
                        self._send(request, reply)
                finally:
                    with standin._lock:
                        standin._at_once -= 1

            def _send(self, request: Request, reply: Reply) -> None:
                agent = request.headers.get("User-Agent", "")
                status, body = (406, b"") if not agent or "requests" in agent else standin._answer(request)
                if reply.status != 200 or reply.body is not None:
                    status, body = reply.status, reply.body or b""
                if reply.fault == "silence":
                    standin._closing.wait()
                    self.close_connection = True
                    return
                if reply.fault == "remark":
                    body = _given_up(body)
                self.send_response_only(status)
                if reply.fault == "drip header":
                    self.flush_headers()
                    self.close_connection = True
                    while not standin._closing.wait(0.05):
                        self.wfile.write(b"x")
                    return
                for name, value in ({"Content-Length": str(len(body))} | dict(reply.headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                is_broken = reply.fault in {"cut", "reset"}
                self.wfile.write(body[: len(body) // 2] if is_broken else body)
                self.close_connection = is_broken
                if reply.fault == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def _given_up(body: bytes) -> bytes:
    answer = json.loads(body)
    nodes = [element for element in answer["elements"] if element["type"] == "node"]
    kept = nodes[: len(nodes) // 2]
    return json.dumps(answer | {"elements": kept, "remark": GAVE_UP}).encode()


class _Map:
    """Elements, and what of them Overpass QL selects, in the one form that osmnx writes."""

    def __init__(self, elements: Iterable[Element]) -> None:
        self._elements = {(element["type"], element["id"]): element for element in elements}
        self._shapes: dict[tuple[str, int], shapely.Geometry] = {}
        for key in sorted(self._elements, key=lambda key: ("node", "way", "relation").index(key[0])):
            self._shapes[key] = self._shape(self._elements[key])

    def evaluate(self, query: str) -> list[Element]:
        """The elements that a query selects, with all that they are made of: nodes, then ways, then relations.

        Raises:
            ValueError: the query has another form.
        """
        whole = _QUERY.fullmatch(query)
        if whole is None or _SELECTION.sub("", whole["selections"]):
            raise ValueError(f"unexpected form: {query[:200]}")
        selected: set[tuple[str, int]] = set()
        areas: dict[str, shapely.Geometry] = {}
        for kind, condition, polygon in _SELECTION.findall(whole["selections"]):
            tag = _TAG.fullmatch(condition)
            if tag is None:
                raise ValueError(f"unexpected condition: {condition}")
            if polygon not in areas:
                areas[polygon] = _polygon(polygon)
            name, value = (text and ast.literal_eval(text) for text in tag.groups())
            for key, element in self._elements.items():
                found = element.get("tags", {}).get(name)
                has_tag = key[0] == kind and found is not None and value in (None, found)
                if has_tag and areas[polygon].intersects(self._shapes[key]):
                    selected |= self._with_parts(key)
        order = ("node", "way", "relation")
        return [self._elements[key] for key in sorted(selected, key=lambda key: (order.index(key[0]), key[1]))]

    def _shape(self, element: Element) -> shapely.Geometry:
        """What a polygon must touch to select the element: an area's border, not its inside."""
        match element["type"]:
            case "node":
                return shapely.Point(element["lon"], element["lat"])
            case "way":
                nodes = [self._elements.get(("node", node)) for node in element["nodes"]]
                points = [(node["lon"], node["lat"]) for node in nodes if node]
                return shapely.LineString(points) if len(points) > 1 else shapely.MultiPoint(points)
        members = [self._shapes.get((member["type"], member["ref"])) for member in element["members"]]
        return shapely.GeometryCollection([member for member in members if member is not None])

    def _with_parts(self, key: tuple[str, int]) -> set[tuple[str, int]]:
        if key not in self._elements:
            return set()
        element = self._elements[key]
        parts = [("node", node) for node in element.get("nodes", ())]
        parts += [(member["type"], member["ref"]) for member in element.get("members", ())]
        return {key}.union(*(self._with_parts(part) for part in parts if part[0] != "relation"))


def _polygon(text: str) -> shapely.Geometry:
    numbers = [float(number) for number in text.split()]
    area = shapely.Polygon(list(zip(numbers[1::2], numbers[::2], strict=True)))
    shapely.prepare(area)
    return area
