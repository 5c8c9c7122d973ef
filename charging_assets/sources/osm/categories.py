"""Which things count as points of interest, in which category, and how near a charging station they must be.

Both sources select by the same tags (`Categories.tag_filter`), and both sort what they find by the same rules
(`Categories.category_of`). Does not belong here: where things come from, and what is near what.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from charging_assets.sources.osm.errors import OsmError

PRESETS: Mapping[str, Path] = {
    "default": Path(__file__).with_name("categories.toml"),
    "original": Path(__file__).with_name("categories_original.toml"),
}
ANY = "*"
MAX_RADIUS_M = 5000.0
"""Above it is a typing error: nobody walks that far from a charging car, and pairs grow with its square."""

_ADVICE = "see categories.toml in charging_assets/sources/osm for the form"


@dataclass(frozen=True, slots=True)
class Category:
    """One entry of the file."""

    name: str
    radius_m: float
    """Metres from a station to the edge of a thing that is near it."""
    tags: Mapping[str, tuple[str, ...]]
    """OpenStreetMap keys, each with its values, or with `ANY` alone."""


class Categories:
    """Categories in order of priority: a thing that fits several belongs to the first of them.

    Args:
        categories: At least one; no tag in two of them.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self._categories = {category.name: category for category in categories}
        self._ranks: dict[str, dict[str, int]] = {}
        for rank, category in enumerate(categories):
            for key, values in category.tags.items():
                self._ranks.setdefault(key, {}).update(dict.fromkeys(values, rank))
        self._names = tuple(self._categories)

    @classmethod
    def load(cls, name_or_path: str, radius_m: float | None = None) -> Self:
        """The categories of a preset (`default`, `original`) or of a TOML file of the same form.

        Args:
            name_or_path: A key of `PRESETS`, or a path.
            radius_m: Metres for all categories, instead of those in the file.

        Raises:
            OsmError: the file cannot be read or has another form; it names the file, the entry and what was expected.
        """
        path = PRESETS.get(name_or_path) or Path(name_or_path)
        if radius_m is not None:
            _check_radius("the radius for all categories", radius_m)
        return cls([_category(path, name, entry, radius_m) for name, entry in _entries(path).items()])

    @property
    def names(self) -> tuple[str, ...]:
        """In order of priority."""
        return self._names

    @property
    def largest_radius_m(self) -> float:
        """What stands further from every station is near none."""
        return max(category.radius_m for category in self._categories.values())

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """All configured (key, value) pairs, in order of priority; the value may be `ANY`."""
        categories = self._categories.values()
        return tuple((key, value) for each in categories for key, values in each.tags.items() for value in values)

    @property
    def rules(self) -> str:
        """All that they say, as a text: equal for equal categories."""
        return repr(list(self._categories.values()))

    def radius_m(self, category: str) -> float:
        """Metres from a station to the edge of a thing of the category (one of `names`) that is near it."""
        return self._categories[category].radius_m

    def tag_filter(self) -> dict[str, list[str] | bool]:
        """What sources select: keys with their values, or True for any value, as osmnx wants it.

        It selects whole values, as Overpass does. Of a list like `shop=bakery;kiosk` nothing is selected, unless
        another tag of the thing is; `category_of` takes lists apart.
        """
        return {key: True if ANY in ranks else list(ranks) for key, ranks in self._ranks.items()}

    def category_of(self, tags: Mapping[str, str]) -> str | None:
        """The first category that a thing fits, None for none; a charging station is no point of interest.

        Of a value that lists several (`bakery;cafe`), each counts.
        """
        if "charging_station" in _parts(tags.get("amenity", "")):
            return None
        rank = min((self._ranks[key][value] for key, value in self.fitting(tags)), default=None)
        return None if rank is None else self._names[rank]

    def fitting(self, tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The configured (key, value) pairs that a thing fits, as in `tags`, in no order."""
        for key, ranks in self._ranks.items():
            value = tags.get(key)
            if value is not None:
                if ANY in ranks:
                    yield key, ANY
                for part in _parts(value):
                    if part in ranks and part != ANY:
                        yield key, part


class TagCounts:
    """How many things fit each configured tag; feed it with all of them to find tags that match nothing."""

    def __init__(self, categories: Categories) -> None:
        self._categories = categories
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, tags: Mapping[str, str]) -> None:
        """Count one thing."""
        self._counts.update(self._categories.fitting(tags))

    @property
    def without_match(self) -> list[str]:
        """Configured tags, like `shop=trade`, that no thing so far fitted, in order of priority."""
        return [f"{key}={value}" for key, value in self._categories.tags if not self._counts[key, value]]


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(";")) if ";" in value else (value,)


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = " or ".join(f"`{name}`" for name in PRESETS)
        raise OsmError(f"{path}: no such file; expected {names}, or the path of a TOML file with categories") from None
    except OSError as error:
        raise OsmError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OsmError(f"{path}: expected TOML in UTF-8, got something else: {error}; {_ADVICE}") from None
    if not entries:
        raise OsmError(f"{path}: expected at least one category, got none; {_ADVICE}")
    _check_unique(path, entries)
    return entries


def _check_unique(path: Path, entries: Mapping[str, Any]) -> None:
    """Of one tag in two categories, the second would never be reached."""
    owners: dict[tuple[str, str], str] = {}
    for name, entry in entries.items():
        tags = entry.get("tags") if isinstance(entry, dict) else None
        for key, values in tags.items() if isinstance(tags, dict) else ():
            for value in values if isinstance(values, list) else [values]:
                owner = owners.get((key, ANY)) or owners.setdefault((key, str(value)), name)
                if owner != name:
                    raise OsmError(f"{path}, [{name}]: {key}={value} already belongs to [{owner}]; keep it in one")


def _category(path: Path, name: str, entry: Any, radius_m: float | None) -> Category:
    where = f"{path}, [{name}]"
    if not isinstance(entry, dict) or not entry.keys() <= {"radius_m", "tags"}:
        got = ", ".join(f"`{key}`" for key in entry) if isinstance(entry, dict) else repr(entry)
        raise OsmError(f"{where}: expected a table with `radius_m` and `tags`, got {got}; {_ADVICE}")
    _check_radius(f"{where}, radius_m", entry.get("radius_m"))
    tags = entry.get("tags")
    if not isinstance(tags, dict) or not tags:
        raise OsmError(f'{where}, tags: expected keys with values, like {{ shop = ["mall"] }}, got {tags!r}; {_ADVICE}')
    return Category(
        name,
        float(entry["radius_m"] if radius_m is None else radius_m),
        {key: _values(f"{where}, tags.{key}", key, values) for key, values in tags.items()},
    )


def _check_radius(where: str, radius_m: object) -> None:
    is_number = isinstance(radius_m, int | float) and not isinstance(radius_m, bool)
    if not is_number or not math.isfinite(radius_m) or not 0 < radius_m <= MAX_RADIUS_M:  # type: ignore[arg-type, operator]
        raise OsmError(f"{where}: expected metres above 0 and up to {MAX_RADIUS_M:,.0f}, got {radius_m!r}")


def _values(where: str, key: str, values: object) -> tuple[str, ...]:
    if values == ANY:
        return (ANY,)
    is_list = isinstance(values, list) and values
    if not is_list or not all(isinstance(value, str) and value and value != ANY for value in values):  # type: ignore[attr-defined]
        raise OsmError(f'{where}: expected a list of values, like ["mall"], or "{ANY}" for any, got {values!r}')
    assert isinstance(values, list)
    if any(";" in value for value in values):
        raise OsmError(f"{where}: expected single values, got one with a `;` in {values!r}; write them one by one")
    if key == "amenity" and "charging_station" in values:
        raise OsmError(f"{where}: charging stations are no points of interest; remove `charging_station`")
    return tuple(values)
