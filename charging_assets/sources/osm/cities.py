"""What a feed's city is called where people write its name: chargecloud's slugs have no umlauts."""

from collections.abc import Mapping

CITY_NAMES: Mapping[str, str] = {
    "SW-Stuttgart": "Stuttgart",
    "buehl": "Bühl",
    "goettingen": "Göttingen",
    "koeln": "Köln",
    "muenster": "Münster",
    "tuebingen": "Tübingen",
}
"""The feeds whose name is more than their slug with a capital letter."""


def city_name(slug: str) -> str:
    """A city's name; of an unknown slug, the slug with a capital letter."""
    return CITY_NAMES.get(slug, slug[:1].upper() + slug[1:])


def city_query(slug: str) -> str:
    """What Nominatim is asked for, e.g. `Köln, Deutschland`."""
    return f"{city_name(slug)}, Deutschland"
