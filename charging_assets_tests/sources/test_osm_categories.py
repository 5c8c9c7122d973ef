import tomllib
from pathlib import Path

import pytest

from charging_assets.sources.osm.categories import ANY, PRESETS, Categories, TagCounts
from charging_assets.sources.osm.errors import OsmError


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def two(folder: Path) -> Categories:
    text = """
        [first]
        radius_m = 25
        tags = { shop = ["bakery", "mall"], office = "*" }

        [second]
        radius_m = 40.5
        tags = { amenity = ["cafe"], shop = ["kiosk"] }
    """
    return Categories.load(written(folder, text))


def test_the_default_has_twelve_categories_in_order_of_priority() -> None:
    categories = Categories.load("default")
    assert categories.names == tuple(tomllib.loads(PRESETS["default"].read_text(encoding="utf-8")))
    assert len(categories.names) == 12
    assert (categories.radius_m("food_retail"), categories.radius_m("fuel_car")) == (40, 30)
    assert categories.largest_radius_m == 40


def test_the_original_s_six_categories_are_a_preset() -> None:
    categories = Categories.load("original")
    assert categories.names == ("supermarket", "fast_food", "highway_services", "fuel", "mall", "doityourself")
    assert categories.category_of({"highway": "rest_area"}) == "highway_services"
    assert categories.tag_filter()["shop"] == ["supermarket", "mall", "doityourself"]


def test_own_categories_come_from_a_file(tmp_path: Path) -> None:
    categories = two(tmp_path)
    assert categories.names == ("first", "second")
    assert (categories.radius_m("first"), categories.radius_m("second"), categories.largest_radius_m) == (
        25,
        40.5,
        40.5,
    )


def test_the_tag_filter_is_osmnx_s(tmp_path: Path) -> None:
    assert two(tmp_path).tag_filter() == {"shop": ["bakery", "mall", "kiosk"], "office": True, "amenity": ["cafe"]}


@pytest.mark.parametrize(
    ("tags", "category"),
    [
        ({"shop": "bakery"}, "first"),
        ({"shop": "kiosk"}, "second"),
        ({"shop": "kiosk", "office": "lawyer"}, "first"),
        ({"amenity": "cafe", "shop": "bakery"}, "first"),
        ({"shop": "books"}, None),
        ({"shop": "Bakery"}, None),
        ({"name": "bakery"}, None),
        ({}, None),
        ({"shop": "books;kiosk"}, "second"),
        ({"shop": "kiosk; bakery"}, "first"),
        ({"shop": "kiosks;"}, None),
        ({"shop": "*"}, None),
        ({"office": "a;b"}, "first"),
    ],
)
def test_a_thing_belongs_to_the_first_category_that_it_fits(
    tmp_path: Path, tags: dict[str, str], category: str | None
) -> None:
    assert two(tmp_path).category_of(tags) == category


@pytest.mark.parametrize("amenity", ["charging_station", "fuel;charging_station", "charging_station; fuel"])
def test_a_charging_station_has_no_category(tmp_path: Path, amenity: str) -> None:
    text = '[all]\nradius_m = 1\ntags = { amenity = "*", shop = "*" }'
    for categories in (Categories.load("default"), Categories.load(written(tmp_path, text))):
        assert categories.category_of({"amenity": amenity, "shop": "supermarket"}) is None


def test_one_radius_can_replace_all(tmp_path: Path) -> None:
    categories = Categories.load("default", radius_m=250)
    assert {categories.radius_m(name) for name in categories.names} == {250.0}
    assert categories.largest_radius_m == 250


def test_configured_tags_that_match_nothing_are_told(tmp_path: Path) -> None:
    counts = TagCounts(two(tmp_path))
    assert counts.without_match == ["shop=bakery", "shop=mall", "office=*", "amenity=cafe", "shop=kiosk"]
    for tags in ({"shop": "bakery;kiosk"}, {"office": "lawyer", "amenity": "pub"}, {"name": "mall"}):
        counts.add(tags)
    assert counts.without_match == ["shop=mall", "amenity=cafe"]


GOOD = "[a]\nradius_m = 30\ntags = { shop = ['mall'] }\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"expected at least one category, got none"),
        ("[a", r"expected TOML in UTF-8, got something else: .*end of document"),
        (GOOD + GOOD, r"expected TOML in UTF-8"),
        ("a = 1", r"\[a\]: expected a table with `radius_m` and `tags`, got 1"),
        (GOOD + "radius = 3", r"\[a\]: expected a table .* got `radius_m`, `tags`, `radius`"),
        ("[a]\ntags = { shop = ['mall'] }", r"\[a\], radius_m: expected metres above 0 and up to 5,000, got None"),
        (GOOD.replace("30", "'30'"), r"\[a\], radius_m: expected metres .* got '30'"),
        (GOOD.replace("30", "true"), r"\[a\], radius_m: expected metres .* got True"),
        (GOOD.replace("30", "0"), r"\[a\], radius_m: expected metres .* got 0"),
        (GOOD.replace("30", "nan"), r"\[a\], radius_m: expected metres .* got nan"),
        (GOOD.replace("30", "30_000"), r"\[a\], radius_m: expected metres .* got 30000"),
        ("[a]\nradius_m = 3", r"\[a\], tags: expected keys with values, .* got None"),
        ("[a]\nradius_m = 3\ntags = {}", r"\[a\], tags: expected keys with values, .* got {}"),
        ("[a]\nradius_m = 3\ntags = ['shop=mall']", r"\[a\], tags: expected keys with values"),
        (
            GOOD.replace("['mall']", "'mall'"),
            r"""tags\.shop: expected a list of values, .* or "\*" for any, got 'mall'""",
        ),
        (GOOD.replace("'mall'", ""), r"tags\.shop: expected a list of values, .* got \[\]"),
        (GOOD.replace("'mall'", "1"), r"tags\.shop: expected a list of values, .* got \[1\]"),
        (GOOD.replace("'mall'", "'*'"), r"tags\.shop: expected a list of values, .* got \['\*'\]"),
        (GOOD.replace("'mall'", "'mall;kiosk'"), r"tags\.shop: expected single values, got one with a `;`"),
        (
            GOOD.replace("shop = ['mall']", "amenity = ['cafe', 'charging_station']"),
            r"tags\.amenity: charging stations are no points of interest",
        ),
        (GOOD + GOOD.replace("[a]", "[b]"), r"\[b\]: shop=mall already belongs to \[a\]"),
        (GOOD.replace("['mall']", "'*'") + GOOD.replace("[a]", "[b]"), r"\[b\]: shop=mall already belongs to \[a\]"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_entry_and_what_was_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(OsmError, match=said) as caught:
        Categories.load(path)
    assert str(caught.value).startswith(path)


def test_a_wildcard_may_come_after_single_values_of_its_key(tmp_path: Path) -> None:
    text = GOOD + "[b]\nradius_m = 40\ntags = { shop = '*' }"
    categories = Categories.load(written(tmp_path, text))
    assert [categories.category_of({"shop": shop}) for shop in ("mall", "kiosk")] == ["a", "b"]
    assert categories.tag_filter() == {"shop": True}
    assert categories.tags == (("shop", "mall"), ("shop", ANY))


def test_files_that_are_not_there_or_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(OsmError, match=r"orginal: no such file; expected `default` or `original`, or the path"):
        Categories.load("orginal")
    with pytest.raises(OsmError, match=r"cannot be read: Is a directory"):
        Categories.load(str(tmp_path))
    (tmp_path / "latin.toml").write_bytes("[caf\xe9]".encode("latin-1"))
    with pytest.raises(OsmError, match=r"latin\.toml: expected TOML in UTF-8"):
        Categories.load(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize("radius_m", [0.0, -1.0, float("inf")])
def test_a_radius_for_all_must_be_one(radius_m: float) -> None:
    with pytest.raises(OsmError, match=r"the radius for all categories: expected metres above 0"):
        Categories.load("default", radius_m=radius_m)
