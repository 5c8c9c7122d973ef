"""One pass over a table tells what its rows say, however they are cut into row groups."""

import datetime as dt
from collections import Counter
from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from charging_assets.quality.partition import Profile

KEY = ("id", "query_time")
START = dt.datetime(2026, 3, 11, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.dictionary(pa.int32(), pa.string())),
        ("query_time", pa.timestamp("us", tz="UTC")),
        ("polls", pa.int32()),
    ]
)

Row = tuple[str | None, int | None, int | None]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "a", "ä", "B\U0001f50c", None]),
        st.integers(0, 3) | st.none(),
        st.integers(-5, 5) | st.none(),
    ),
    max_size=30,
)


def profile_of(rows: list[Row], cuts: list[int]) -> Profile:
    """The profile of the rows, cut into row groups."""
    profile = Profile()
    table = pa.Table.from_pylist(
        [
            {"id": id_, "query_time": None if hour is None else START + dt.timedelta(hours=hour), "polls": polls}
            for id_, hour, polls in rows
        ],
        schema=SCHEMA,
    )
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for first, end in pairwise(edges):
        # A reader gives each group a dictionary of its own, in the order in which words come.
        group = pa.Table.from_pylist(table.slice(first, end - first).to_pylist(), schema=SCHEMA)
        profile.add(group.combine_chunks(), KEY)
    return profile


@given(rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_a_profile_counts_what_is_there(rows: list[Row], cuts: list[int]) -> None:
    profile = profile_of(rows, cuts)

    def order(row: Row) -> tuple[object, ...]:
        return tuple((value is not None, value) for value in row[:2])

    assert profile.rows == len(rows)
    assert profile.repeated == sum(order(before) == order(after) for before, after in pairwise(rows))
    assert profile.unsorted == sum(order(before) > order(after) for before, after in pairwise(rows))
    assert (profile.disorder is None) == (not profile.repeated and not profile.unsorted)
    assert profile.words.get("id", Counter()) == Counter(id_ for id_, *_ in rows if id_ is not None)
    assert +profile.nulls == +Counter(
        name for row in rows for name, value in zip(SCHEMA.names, row, strict=True) if value is None
    )
    polls = [polls for *_, polls in rows if polls is not None]
    assert profile.bounds.get("polls") == ((min(polls), max(polls)) if polls else None)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_the_first_row_of_a_word_is_named_by_its_key(rows: list[Row], cuts: list[int]) -> None:
    profile = profile_of(rows, cuts)

    for word in profile.words.get("id", {}):
        hour = next(hour for id_, hour, _ in rows if id_ == word)
        time = None if hour is None else START + dt.timedelta(hours=hour)
        assert profile.places["id", word] == f"({word}, {time})"
