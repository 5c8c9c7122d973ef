"""A small map of each simulated town: where people are, and so where stations stand.

The towns are real ones (the 38 feeds), so that what is drawn on a map lies in Germany; the places in them are made up.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

KINDS = ("centre", "mall", "motorway", "residential", "business")
"""What a place can be; the order is that of the codes in `world.Points.kind`."""

METROPOLIS = 500_000
"""Inhabitants from which a town has a second peak in the evening."""

_KM_PER_DEGREE = 111.2
_STREETS = (
    *("Ahornweg", "Am Anger", "Am Stadtpark", "Bachstraße", "Bergstraße", "Birkenallee", "Dorfstraße", "Eichenweg"),
    *("Feldstraße", "Gartenstraße", "Goethestraße", "Hauptstraße", "Im Grund", "Jahnstraße", "Kirchgasse"),
    *("Lindenstr.", "Meisenweg", "Mozartstr.", "Mühlweg", "Parkstraße", "Ringstr.", "Rosenweg", "Schillerstr."),
    *("Schulstraße", "Seestraße", "Talstr.", "Uferweg", "Waldstr.", "Weinbergweg", "Wiesengrund"),
)
# How many there are per town (from, to) and how far from the centre in km, by kind.
_LAYOUT: dict[str, tuple[tuple[int, int], tuple[float, float]]] = {
    "centre": ((2, 3), (0.0, 0.6)),
    "mall": ((1, 3), (1.0, 4.0)),
    "motorway": ((1, 2), (4.0, 9.0)),
    "residential": ((8, 14), (0.7, 5.0)),
    "business": ((1, 3), (2.0, 6.0)),
}
_NAMES = {
    "centre": ("Marktplatz", "Bahnhof", "Rathaus"),
    "mall": ("Einkaufszentrum {} Nord", "Einkaufszentrum {} Süd", "Baumarkt {}"),
    "motorway": ("Rastanlage {} Ost", "Rastanlage {} West"),
    "business": ("Gewerbepark Am Hafen", "Gewerbepark Im Tal", "Technologiepark"),
}


class City(NamedTuple):
    """What is known of a real town; `postal_code` is one of its own."""

    feed: str
    name: str
    state: str
    latitude: float
    longitude: float
    postal_code: str
    population: int


CITIES = (
    City("ansbach", "Ansbach", "BY", 49.3004, 10.5719, "91522", 42_000),
    City("bayreuth", "Bayreuth", "BY", 49.9456, 11.5713, "95444", 74_000),
    City("bocholt", "Bocholt", "NW", 51.8388, 6.6153, "46397", 71_000),
    City("bonn", "Bonn", "NW", 50.7374, 7.0982, "53111", 335_000),
    City("bretten", "Bretten", "BW", 49.0364, 8.7061, "75015", 30_000),
    City("bruchsal", "Bruchsal", "BW", 49.1243, 8.5980, "76646", 46_000),
    City("buehl", "Bühl", "BW", 48.6953, 8.1353, "77815", 29_000),
    City("calw", "Calw", "BW", 48.7148, 8.7399, "75365", 24_000),
    City("chemnitz", "Chemnitz", "SN", 50.8278, 12.9214, "09111", 248_000),
    City("crailsheim", "Crailsheim", "BW", 49.1347, 10.0717, "74564", 35_000),
    City("deggendorf", "Deggendorf", "BY", 48.8350, 12.9640, "94469", 35_000),
    City("dormagen", "Dormagen", "NW", 51.0963, 6.8316, "41539", 65_000),
    City("dortmund", "Dortmund", "NW", 51.5136, 7.4653, "44135", 595_000),
    City("erlangen", "Erlangen", "BY", 49.5897, 11.0120, "91052", 115_000),
    City("ettlingen", "Ettlingen", "BW", 48.9400, 8.4070, "76275", 39_000),
    City("forchheim", "Forchheim", "BY", 49.7206, 11.0584, "91301", 32_000),
    City("goettingen", "Göttingen", "NI", 51.5413, 9.9158, "37073", 118_000),
    City("heidelberg", "Heidelberg", "BW", 49.3988, 8.6724, "69115", 160_000),
    City("herzogenaurach", "Herzogenaurach", "BY", 49.5687, 10.8822, "91074", 24_000),
    City("hof", "Hof", "BY", 50.3137, 11.9128, "95028", 46_000),
    City("ingolstadt", "Ingolstadt", "BY", 48.7665, 11.4258, "85049", 140_000),
    City("kiel", "Kiel", "SH", 54.3233, 10.1228, "24103", 247_000),
    City("kitzingen", "Kitzingen", "BY", 49.7363, 10.1620, "97318", 22_000),
    City("koeln", "Köln", "NW", 50.9375, 6.9603, "50667", 1_087_000),
    City("krefeld", "Krefeld", "NW", 51.3388, 6.5853, "47798", 228_000),
    City("leverkusen", "Leverkusen", "NW", 51.0459, 6.9850, "51373", 165_000),
    City("lichtenfels", "Lichtenfels", "BY", 50.1458, 11.0644, "96215", 20_000),
    City("muenster", "Münster", "NW", 51.9607, 7.6261, "48143", 320_000),
    City("nettetal", "Nettetal", "NW", 51.3167, 6.2833, "41334", 43_000),
    City("pforzheim", "Pforzheim", "BW", 48.8922, 8.6946, "75172", 127_000),
    City("rastatt", "Rastatt", "BW", 48.8579, 8.2040, "76437", 50_000),
    City("roth", "Roth", "BY", 49.2470, 11.0911, "91154", 25_000),
    City("schwabach", "Schwabach", "BY", 49.3292, 11.0236, "91126", 41_000),
    City("solingen", "Solingen", "NW", 51.1652, 7.0671, "42651", 160_000),
    City("tuebingen", "Tübingen", "BW", 48.5216, 9.0576, "72070", 92_000),
    City("weinheim", "Weinheim", "BW", 49.5459, 8.6660, "69469", 45_000),
    City("wertheim", "Wertheim", "BW", 49.7590, 9.5170, "97877", 23_000),
    City("zirndorf", "Zirndorf", "BY", 49.4428, 10.9540, "90513", 26_000),
)

FEEDS = tuple(city.feed for city in CITIES)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere people go: stations cluster around it."""

    kind: str
    """One of `KINDS`."""
    name: str
    longitude: float
    latitude: float


@dataclass(frozen=True, slots=True)
class Town:
    """One town and its places."""

    city: City
    places: tuple[Place, ...]


def lay_out(city: City, rng: np.random.Generator) -> Town:
    """Make up a town's places; all lie within 10 km of its centre."""
    streets = [_STREETS[number] for number in rng.permutation(len(_STREETS))]
    places = []
    for kind, ((fewest, most), (near, far)) in _LAYOUT.items():
        for number in range(int(rng.integers(fewest, most + 1))):
            longitude, latitude = shifted(city.longitude, city.latitude, rng.uniform(near, far), rng)
            name = streets[number] if kind == "residential" else _NAMES[kind][number].format(city.name)
            places.append(Place(kind, name, longitude, latitude))
    return Town(city, tuple(places))


def shifted(longitude: float, latitude: float, km: float, rng: np.random.Generator) -> tuple[float, float]:
    """A point `km` away in a random direction, as (longitude, latitude) rounded as the API gives it."""
    angle = rng.uniform(0, 2 * math.pi)
    east, north = km * math.cos(angle), km * math.sin(angle)
    return (
        round(longitude + east / (_KM_PER_DEGREE * math.cos(math.radians(latitude))), 6),
        round(latitude + north / _KM_PER_DEGREE, 6),
    )
