"""What stands around in a simulated town: which things, how often at which kind of place, how large, and named how.

Belongs here: kinds of things, by the tag of OpenStreetMap that they have. Does not belong here: where each one stands
(`pois`). Names are made up.
"""

from collections.abc import Mapping
from typing import NamedTuple

_SHOP_HOURS, _WORK_HOURS = "Mo-Sa 07:00-21:00", "Mo-Fr 08:00-18:00"


class Thing(NamedTuple):
    """One kind of thing."""

    names: tuple[str, ...] = ()
    """What one may be called; `{}` stands for the town."""
    front_m: float = 0
    """Length of the side towards the street; 0: it is mapped as a point."""
    depth_m: float = 0
    opening_hours: str | None = None
    is_building: bool = True
    """Whether its area is a house."""


THINGS: Mapping[str, Thing] = {
    "highway=services": Thing(("Raststätte {} Ost", "Raststätte {} West"), 180, 110, "24/7", is_building=False),
    "highway=rest_area": Thing(("Parkplatz Am Wald", "Parkplatz Hohe Eiche"), 150, 40, is_building=False),
    "amenity=fuel": Thing(("Tankpunkt", "Hansa-Tank", "Autohof {}"), 28, 18, "24/7"),
    "amenity=car_wash": Thing(("Waschstraße {}", "Blitzblank"), 30, 9, _SHOP_HOURS),
    "amenity=car_rental": Thing(("Mietwagen {}",), opening_hours=_WORK_HOURS),
    "amenity=car_sharing": Thing(("Autoteilen {}",)),
    "shop=car": Thing(("Autohaus Brandt", "Autohaus Keller", "Autohaus {}"), 45, 25, _WORK_HOURS),
    "shop=car_repair": Thing(("Kfz-Werkstatt Lorenz", "Reifen Vogt"), 20, 15, _WORK_HOURS),
    "shop=mall": Thing(("{}-Arkaden", "Stadtgalerie {}"), 140, 90, _SHOP_HOURS),
    "shop=department_store": Thing(("Kaufhaus Lindner", "Kaufhaus {}"), 60, 40, _SHOP_HOURS),
    "shop=clothes": Thing(("Modehaus Winter", "Jeans & Co.", "Kleiderkammer", "Nadel & Faden"), opening_hours="Mo-Sa"),
    "shop=furniture": Thing(("Möbel Hartwig", "Wohnwelt {}"), 90, 60, _SHOP_HOURS),
    "shop=electronics": Thing(("Elektro Sommer", "Technikmarkt {}"), 40, 30, _SHOP_HOURS),
    "shop=supermarket": Thing(("Frischmarkt", "Kaufgut", "Markt am Tor", "Kauf & Spar"), 48, 30, _SHOP_HOURS),
    "shop=convenience": Thing(("Spätkauf", "Laden an der Ecke", "Dorfladen {}")),
    "shop=bakery": Thing(("Bäckerei Morgenrot", "Backstube Huber", "Bäckerei Stein", "Mühlenbäcker")),
    "shop=butcher": Thing(("Metzgerei Albrecht", "Fleischerei Roth")),
    "shop=greengrocer": Thing(("Obst & Gemüse Demir", "Gemüse Krause")),
    "shop=beverages": Thing(("Getränke Quelle", "Getränkemarkt {}"), 25, 18, _SHOP_HOURS),
    "shop=doityourself": Thing(("Baumarkt {}", "Heimwerk"), 95, 70, _SHOP_HOURS),
    "shop=hardware": Thing(("Eisenwaren Busch",)),
    "shop=garden_centre": Thing(("Gartencenter {}", "Gärtnerei Blum"), 70, 50, _SHOP_HOURS),
    "shop=trade": Thing(("Baustoffe {}", "Fliesenhandel West"), 60, 40, _WORK_HOURS),
    "amenity=fast_food": Thing(("Burgergrill", "Döner Eck", "Pizza-Blitz", "Imbiss Hansen")),
    "amenity=food_court": Thing(("Markthalle {}",), 35, 25, _SHOP_HOURS),
    "amenity=restaurant": Thing(("Gasthaus Zum Hirschen", "Trattoria Sole", "Zur Post", "Lotus", "Taverna Rhodos")),
    "amenity=cafe": Thing(("Café Am Eck", "Café Schiller", "Kaffeerösterei {}", "Café Lenz")),
    "amenity=bar": Thing(("Blaue Stunde", "Bar Zentral")),
    "amenity=pub": Thing(("Zum Anker", "Alte Schmiede", "Brauhaus {}")),
    "amenity=biergarten": Thing(("Biergarten Linde",), 40, 25, is_building=False),
    "tourism=hotel": Thing(("Hotel Krone", "Stadthotel {}", "Hotel Am Park"), 32, 16, "24/7"),
    "tourism=motel": Thing(("Motel {}",), 40, 14, "24/7"),
    "tourism=guest_house": Thing(("Pension Elisabeth", "Gästehaus Berger")),
    "tourism=hostel": Thing(("Jugendherberge {}",), 35, 18),
    "tourism=camp_site": Thing(("Campingplatz Am See",), 220, 130, is_building=False),
    "amenity=parking": Thing((), 55, 34, is_building=False),
    "railway=station": Thing(("{} Hauptbahnhof",)),
    "public_transport=station": Thing(("{} ZOB",), 60, 25, is_building=False),
    "aeroway=terminal": Thing(("Flugplatz {}",), 70, 25),
    "leisure=fitness_centre": Thing(("Fit & Gesund", "Kraftraum {}"), opening_hours="Mo-Su 06:00-23:00"),
    "leisure=sports_centre": Thing(("Sporthalle {}", "TSV {}"), 60, 40),
    "leisure=swimming_pool": Thing(("Stadtbad {}",), 50, 25, is_building=False),
    "leisure=stadium": Thing(("Stadion {}",), 180, 120, is_building=False),
    "amenity=cinema": Thing(("Kino Capitol", "Lichtspiele {}"), 40, 30),
    "amenity=theatre": Thing(("Stadttheater {}",), 50, 40),
    "tourism=museum": Thing(("Stadtmuseum {}", "Heimatmuseum"), 40, 20, "Tu-Su 10:00-17:00"),
    "tourism=zoo": Thing(("Tierpark {}",), 260, 180, "Mo-Su 09:00-18:00", is_building=False),
    "tourism=theme_park": Thing(("Märchenpark {}",), 240, 160, is_building=False),
    "tourism=attraction": Thing(("Aussichtsturm {}", "Alte Burg")),
    "amenity=hospital": Thing(("Klinikum {}",), 130, 80, "24/7"),
    "amenity=clinic": Thing(("Ärztehaus {}",), 35, 20, _WORK_HOURS),
    "amenity=pharmacy": Thing(("Adler-Apotheke", "Rosen-Apotheke", "Stadt-Apotheke {}"), opening_hours="Mo-Sa"),
    "amenity=doctors": Thing(("Hausarztpraxis", "Dr. Albers", "Praxis am Markt"), opening_hours=_WORK_HOURS),
    "amenity=school": Thing(("Grundschule {}", "Goethe-Gymnasium", "Realschule {}"), 90, 45, is_building=False),
    "amenity=university": Thing(("Hochschule {}",), 160, 100, is_building=False),
    "amenity=library": Thing(("Stadtbücherei {}",), 30, 20),
    "amenity=townhall": Thing(("Rathaus {}",), 35, 22, _WORK_HOURS),
    "amenity=bank": Thing(("Bürgerbank {}", "Sparbank {}"), opening_hours=_WORK_HOURS),
    "amenity=atm": Thing(),
    "amenity=post_office": Thing(("Postfiliale {}",), opening_hours=_WORK_HOURS),
    "office=company": Thing(("Nordwind GmbH", "Brenner & Söhne", "Maschinenbau {}"), 50, 25, _WORK_HOURS),
    "office=it": Thing(("Datenwerk {}", "Softwarehaus Lehmann"), 30, 16, _WORK_HOURS),
}

AROUND: Mapping[str, Mapping[float, tuple[str, ...]]] = {
    "centre": {
        0.7: ("amenity=restaurant",),
        0.6: ("amenity=cafe", "amenity=parking"),
        0.5: ("shop=bakery", "shop=clothes"),
        0.4: ("amenity=bank", "amenity=pharmacy"),
        0.3: ("amenity=bar", "amenity=atm", "amenity=doctors"),
        0.25: ("amenity=townhall", "tourism=hotel", "amenity=pub"),
        0.2: ("shop=electronics", "amenity=post_office"),
        0.15: ("amenity=library", "railway=station", "shop=department_store"),
        0.1: ("amenity=biergarten", "tourism=museum", "amenity=cinema"),
    },
    "mall": {
        0.9: ("shop=supermarket",),
        0.8: ("shop=clothes",),
        0.7: ("amenity=fast_food", "amenity=parking"),
        0.4: ("shop=mall", "shop=electronics", "amenity=atm"),
        0.3: ("shop=doityourself", "amenity=cafe"),
        0.25: ("shop=furniture", "shop=beverages", "amenity=pharmacy"),
        0.2: ("leisure=fitness_centre", "amenity=car_wash", "shop=department_store"),
        0.15: ("amenity=food_court",),
    },
    "motorway": {
        0.9: ("amenity=fuel",),
        0.8: ("amenity=fast_food",),
        0.6: ("amenity=parking",),
        0.5: ("highway=services", "amenity=restaurant", "shop=convenience"),
        0.3: ("highway=rest_area", "tourism=motel"),
        0.2: ("amenity=atm", "amenity=car_wash"),
    },
    "residential": {
        0.55: ("shop=bakery",),
        0.35: ("shop=supermarket", "amenity=school", "amenity=doctors", "amenity=restaurant", "amenity=parking"),
        0.25: ("amenity=pharmacy", "shop=convenience", "amenity=fast_food"),
        0.2: ("shop=butcher", "amenity=cafe", "amenity=bank", "leisure=sports_centre", "amenity=pub"),
        0.15: ("shop=greengrocer", "amenity=car_sharing"),
        0.1: ("tourism=guest_house", "shop=car_repair", "amenity=post_office"),
    },
    "business": {
        0.9: ("office=company",),
        0.5: ("amenity=parking",),
        0.4: ("tourism=hotel", "office=it"),
        0.35: ("shop=car", "amenity=fast_food"),
        0.3: ("shop=doityourself", "shop=car_repair", "amenity=restaurant"),
        0.25: ("shop=trade", "amenity=fuel"),
        0.2: ("amenity=car_rental", "leisure=fitness_centre"),
        0.15: ("shop=hardware", "shop=garden_centre", "shop=furniture"),
        0.1: ("amenity=clinic",),
    },
}
"""What is found in the surroundings of a station with which probability, by kind of its place."""

LANDMARKS = (
    *("amenity=hospital", "tourism=zoo", "leisure=swimming_pool", "amenity=university", "tourism=attraction"),
    *("leisure=stadium", "public_transport=station", "tourism=camp_site", "amenity=theatre", "aeroway=terminal"),
    *("tourism=hostel", "tourism=theme_park", "tourism=museum"),
)
"""Things that a town has without any station near them, each some of these in turn."""
