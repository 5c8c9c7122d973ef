"""Whether a lake holds what real feeds answered, or a simulation: never both, and never two simulated worlds.

Answers of both look alike, so nobody could tell them apart once they are mixed. A file that is written once says what
the lake holds; whoever writes asks it first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from charging_assets.lake.errors import LakeError, explained
from charging_assets.lake.staging import stage_file
from charging_assets.lake.store import Store
from charging_assets.model.answer import SIMULATOR

PATH = "source-kind.json"


class WrongKind(LakeError):  # noqa: N818 - says what happened
    """What was to be written does not belong into this lake."""


class Kind(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where everything in a lake comes from."""

    kind: Literal["real", "simulated"]
    seed: int | None = None
    """Of the simulated world; None: not known, as to a poll."""
    epoch: str | None = None
    """Date at which the simulated world begins."""

    @classmethod
    def of_source(cls, source: str) -> "Kind":
        """What a poll of this source knows."""
        return cls("simulated" if source == SIMULATOR else "real")

    def goes_with(self, other: "Kind") -> bool:
        """Whether both may be in one lake; what one of them does not know is no difference."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return all(mine == theirs or mine is None or theirs is None for mine, theirs in pairs)

    def __str__(self) -> str:
        if self.kind == "real":
            return "real data"
        return "simulated data" + (f" (seed {self.seed}, from {self.epoch} on)" if self.seed is not None else "")


class KindMark:
    """The file that says what a lake holds; it is read once.

    Args:
        store: where the lake's files are.
        staging_dir: see `RawArchive`.
        lake_uri: which lake this is, for people.
        first_source: tells the source of some raw answer, None when there is none: older lakes lack the file.
    """

    def __init__(self, store: Store, staging_dir: Path, lake_uri: str, first_source: Callable[[], str | None]) -> None:
        self._store, self._staging_dir, self._lake_uri = store, staging_dir, lake_uri
        self._first_source = first_source
        self._held: Kind | None = None

    def held(self) -> Kind | None:
        """What the file says; None while there is none.

        Raises:
            LakeError: the lake cannot be read.
        """
        self._held = self._held or self._read()
        return self._held

    def check(self, kind: Kind) -> Kind | None:
        """Refuse what does not go with what the lake holds; returns what that is, None when it is empty.

        Raises:
            WrongKind: it does not.
            LakeError: the lake cannot be read.
        """
        held = self.held()
        if held is None and (source := self._first_source()) is not None:
            held = Kind.of_source(source)
        if held is not None and not held.goes_with(kind):
            raise WrongKind(
                f"{self._lake_uri} holds {held}, and this is {kind}; they are never mixed: use another "
                "CHARGING_ASSETS_HOME (or CHARGING_ASSETS_LAKE) for it"
                + (", or correct CHARGING_ASSETS_SOURCE" if held.kind != kind.kind else "")
            )
        return held

    def claim(self, kind: Kind) -> None:
        """Like `check`, and an empty lake holds this kind from now on.

        Raises:
            WrongKind: it does not go with what the lake holds.
            LakeError: the lake cannot be read or written.
        """
        held = self.check(kind)
        if self._held is not None:
            return
        with stage_file(self._staging_dir) as staged:
            with explained(f"Writing {staged.path}"):
                staged.path.write_bytes(msgspec.json.encode(held or kind) + b"\n")
            self._store.put_new(staged.path, PATH)
        self.check(kind)  # another writer may have been faster

    def _read(self) -> Kind | None:
        try:
            with self._store.open(PATH) as file:
                return msgspec.json.decode(file.read(), type=Kind)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise LakeError(
                f"{self._lake_uri}/{PATH} is damaged ({error}): delete it, and it is made again from the raw answers"
            ) from error
