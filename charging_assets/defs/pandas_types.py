"""The small tables as pandas frames: conversion without loss, and Dagster types that check frames against the model.

Frames have Arrow-backed columns: nullable integers, UTC microseconds and dictionaries survive, nothing is copied into
Python objects, and 190,000 rows convert and are checked in well under a second. Does not belong here: what is checked
of a table that stands in the lake (`quality`).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
from dagster_pandas import PandasColumn, StrictColumnsConstraint, create_dagster_pandas_dataframe_type
from dagster_pandas.constraints import (
    ColumnConstraint,
    ColumnDTypeInSetConstraint,
    Constraint,
    ConstraintViolationException,
)
from sqlalchemy import Column, Table

from charging_assets.model.arrow import arrow_schema
from charging_assets.model.rules import bounds_of, words_of
from charging_assets.model.tables import key_of, table

_EXAMPLES = 3


def to_pandas(rows: pa.Table, name: str) -> pd.DataFrame:
    """Rows of the table `name` as a frame that passes `pandas_type(name)`; every column has an `ArrowDtype`.

    Raises:
        ValueError: the columns are others than the table's, or in another order.
    """
    return rows.cast(arrow_schema(name)).to_pandas(types_mapper=pd.ArrowDtype)


def to_arrow(frame: pd.DataFrame, name: str) -> pa.Table:
    """The inverse of `to_pandas`; the index is left out.

    Raises:
        ValueError: the columns are others than the table's, in another order, cannot have their types, or are null
            where none may be.
    """
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata().cast(arrow_schema(name))


@cache
def pandas_type(name: str) -> dg.DagsterType:
    """The Dagster type of frames of the table `name`: columns in order, types, nulls, key, words and bounds."""
    declared = table(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # all of dagster-pandas is beta, and pinned
        columns = [
            PandasColumn(col.name, list(_constraints(declared, col)))  # type: ignore[no-untyped-call]
            for col in declared.columns
        ]
        order = StrictColumnsConstraint(declared.columns.keys(), enforce_ordering=True)  # type: ignore[no-untyped-call]
        made: dg.DagsterType = create_dagster_pandas_dataframe_type(  # type: ignore[no-untyped-call]
            name=name,
            description=f"{declared.comment}\n\nA frame as `to_pandas` makes it: exactly these columns in this order.",
            columns=columns,
            dataframe_constraints=[order],
        )
    return made


class _Type(ColumnDTypeInSetConstraint):
    """The dtype of a column. A type's description shows what constraints say: here, what the column means."""

    def __init__(self, dtype: str, meaning: str) -> None:
        super().__init__({dtype})  # type: ignore[no-untyped-call]
        self.markdown_description = meaning

    def validate(self, dataframe: pd.DataFrame, column_name: str) -> None:
        (expected,) = self.expected_dtype_set
        if (got := str(dataframe[column_name].dtype)) != expected:
            raise ConstraintViolationException(
                f"Column {column_name!r}: expected dtype {expected}, got {got}; `to_pandas` makes frames of right ones."
            )


class _Values(ColumnConstraint):
    """What values of a column must be. The library's own print whole rows, and of nulls the address of an iterator."""

    def __init__(self, rule: str, is_broken: Callable[[pd.Series], pd.Series]) -> None:
        super().__init__(error_description=rule, markdown_description=rule)  # type: ignore[no-untyped-call]
        self._is_broken = is_broken

    def validate(self, dataframe: pd.DataFrame, column_name: str) -> None:
        values = dataframe[column_name].reset_index(drop=True)
        broken = values[self._is_broken(values).to_numpy(bool, na_value=False)]
        if broken.empty:
            return
        examples = ", ".join(f"{value!r} in row {row + 1:,}" for row, value in broken.head(_EXAMPLES).items())
        raise ConstraintViolationException(
            f"Column {column_name!r}: expected {self.error_description}; broken in {len(broken):,} of {len(values):,} "
            f"rows: {examples}{', …' if len(broken) > _EXAMPLES else ''}."
        )


def _constraints(declared: Table, col: Column[Any]) -> Iterator[Constraint]:
    dtype = str(pd.ArrowDtype(arrow_schema(declared.name).field(col.name).type))
    unit = col.info["unit"]
    yield _Type(dtype, f"{col.comment} Unit: {unit}." if unit else str(col.comment))
    if not col.nullable:
        yield _Values("no nulls", pd.Series.isna)
    if key_of(declared) == (col.name,):
        yield _Values("each value once", pd.Series.duplicated)
    if words := words_of(declared).get(col.name):
        yield _Values(f"one of {', '.join(words)}", partial(_is_none_of, words=words))
    if bounds := bounds_of(declared).get(col.name):
        low, high = bounds
        rule = f"values of at least {low:g}" if high == float("inf") else f"values from {low:g} to {high:g}"
        yield _Values(rule, partial(_is_outside, low=low, high=high))


def _is_none_of(values: pd.Series, words: Sequence[str]) -> pd.Series:
    return values.notna() & ~values.isin(words)


def _is_outside(values: pd.Series, low: float, high: float) -> pd.Series:
    return (values < low) | (values > high)
