"""Durations are the same whatever else is asked for with them."""

import numpy as np

from charging_assets.derive.occupancy.formulas import duration_quantiles

SHARES = (0.5, 0.9)


def test_durations_of_a_group_depend_neither_on_a_million_others_nor_on_their_order() -> None:
    random = np.random.default_rng(1)
    group = np.sort(random.integers(0, 30_000, 1_000_000))
    polls = random.integers(1, 60, len(group))
    kinds = np.stack([group, polls * 600, polls, random.integers(1, 3, len(group))])
    found = duration_quantiles(*kinds, 30_000, SHARES)
    shuffled = kinds[:, random.permutation(len(group))]
    assert np.array_equal(duration_quantiles(*shuffled, 30_000, SHARES), found)
    for number in range(0, 30_000, 100):
        alone = kinds[1:, group == number]
        one = duration_quantiles(np.zeros_like(alone[0]), *alone, 1, SHARES)
        assert np.array_equal(one[:, 0], found[:, number])


def test_between_two_events_the_middle_is_the_median_and_groups_without_events_have_none() -> None:
    group, polls = np.array([1, 1]), np.array([1, 5])
    found = duration_quantiles(group, polls * 600, polls, np.ones(2, np.int64), 3, [0.5])
    assert np.array_equal(found, [[np.nan, (900 + 2_700) / 2, np.nan]], equal_nan=True)
