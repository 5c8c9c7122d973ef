"""A lake holds what real feeds answered, or one simulated world, and refuses the rest."""

from pathlib import Path

import pytest

from charging_assets.lake import Kind, Lake, LakeError, WrongKind
from charging_assets.lake.kind import PATH
from charging_assets.lake.raw import RawArchive
from charging_assets.lake.store import store_at
from charging_assets_tests.lake.answers import DAY, answer, files, held, keep, poll_number, spools

WORLD = Kind("simulated", 1, "2026-01-01")


def again(lake: Lake, home: Path) -> Lake:
    """The lake as another process opens it."""
    return Lake(lake.uri, home)


def mark(lake: Lake) -> bytes:
    with lake._store.open(PATH) as file:
        content: bytes = file.read()
        return content


@pytest.mark.parametrize(("first", "second"), [("chargecloud", "simulator"), ("simulator", "chargecloud")])
def test_real_and_simulated_answers_never_share_a_lake(any_lake: Lake, tmp_path: Path, first: str, second: str) -> None:
    keep(any_lake, poll_number(5, source=first), [answer("koeln")])
    for lake in (any_lake, again(any_lake, tmp_path / "other")):
        with pytest.raises(WrongKind, match=r"holds .* data, and this is .* data.* another CHARGING_ASSETS_HOME"):
            lake.raw.import_answers(poll_number(6, "x", second), [answer("bonn")])
        with pytest.raises(WrongKind, match="CHARGING_ASSETS_SOURCE"):
            lake.raw.begin_poll(poll_number(7, source=second))
    assert not spools(tmp_path), "nothing waits for a lake that will never take it"
    assert len(held(any_lake)) == 1
    keep(any_lake, poll_number(8, source=first), [answer("bonn")])


def test_a_lake_takes_one_simulated_world_and_polls_of_it(any_lake: Lake, tmp_path: Path) -> None:
    any_lake.raw.claim(WORLD)
    lake = again(any_lake, tmp_path)
    lake.raw.claim(WORLD)
    keep(lake, poll_number(5, source="simulator"), [answer("koeln")])
    for other in (Kind("simulated", 2, "2026-01-01"), Kind("simulated", 1, "2025-01-01")):
        with pytest.raises(WrongKind, match=r"holds simulated data \(seed 1, from 2026-01-01 on\)"):
            lake.raw.claim(other)
    assert mark(lake) == b'{"kind":"simulated","seed":1,"epoch":"2026-01-01"}\n'


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_lake_from_before_the_mark_is_known_by_its_answers(
    any_lake: Lake, tmp_path: Path, is_compacted: bool
) -> None:
    keep(any_lake, poll_number(5), [answer("koeln")])
    keep(any_lake, poll_number(6), [answer("koeln")])
    if is_compacted:
        any_lake.raw.compact(DAY)
    any_lake._store.delete(PATH)
    lake = again(any_lake, tmp_path)
    with pytest.raises(WrongKind, match="holds real data"):
        lake.raw.claim(WORLD)
    keep(lake, poll_number(7), [answer("koeln")])
    assert mark(lake) == b'{"kind":"real"}\n'


def test_of_two_first_writers_the_slower_one_is_held_to_what_the_faster_one_wrote(
    any_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower = again(any_lake, tmp_path / "slower")
    put_new = slower._store.put_new

    def overtaken(local: Path, path: str) -> bool:
        any_lake.raw.claim(WORLD)
        return put_new(local, path)

    monkeypatch.setattr(slower._store, "put_new", overtaken)
    with pytest.raises(WrongKind, match="holds simulated data"):
        slower.raw.import_answers(poll_number(5), [answer("koeln")])
    assert held(any_lake) == []


def test_looking_at_an_empty_lake_leaves_it_empty(lake: Lake) -> None:
    with lake.raw.begin_poll(poll_number(5)):
        pass
    assert lake.raw.dates() == []
    assert files(lake) == []


def test_a_lake_that_cannot_be_asked_does_not_cost_a_poll(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    uri = str(tmp_path / "file" / "lake")
    archive = RawArchive(store_at(uri, tmp_path), tmp_path / "spool", tmp_path / "staging", uri)
    with pytest.raises(LakeError), archive.begin_poll(poll_number(5)) as spool:
        spool.add(answer("koeln"))
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_a_damaged_mark_is_named_with_what_to_do(lake: Lake) -> None:
    keep(lake, poll_number(5), [answer("koeln")])
    path = Path(lake.uri) / PATH
    path.write_bytes(b'{"kind":')
    with pytest.raises(LakeError, match=r"source-kind\.json is damaged .* delete it"):
        Lake(lake.uri, path.parent).raw.claim(Kind("real"))
