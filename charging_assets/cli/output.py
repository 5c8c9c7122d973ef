"""How a query's result is printed: streamed as CSV or JSON for programs, as a table for people."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

TABLE_ROWS = 1_000
NULL = "NULL"

_json = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def write_csv(reader: pa.RecordBatchReader) -> None:
    """RFC 4180 with line feeds: a header, ISO 8601 times with offset, null as nothing."""
    out = click.get_binary_stream("stdout")
    names = pa.array(reader.schema.names, pa.string())
    out.write((",".join(_csv_quoted(names).to_pylist()) + "\n").encode())
    # A line must not be empty, or readers skip the row.
    null = '""' if len(names) == 1 else ""
    for batch in reader:
        if not batch.num_rows:
            continue
        columns = [_csv_quoted(_as_text(column)) for column in batch.columns]
        lines = pc.binary_join_element_wise(*columns, ",", null_handling="replace", null_replacement=null)
        out.write(("\n".join(lines.to_pylist()) + "\n").encode())
    out.flush()


def write_json(reader: pa.RecordBatchReader) -> None:
    """An array with one object per row and line; ISO 8601 times with offset."""
    names = reader.schema.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.ClickException(
            f"Two columns are called {', '.join(twice)}, which JSON cannot have: rename one with AS."
        )
    out = click.get_binary_stream("stdout")
    out.write(b"[")
    separator = b"\n"
    for batch in reader:
        columns = [_as_json_values(column) for column in batch.columns]
        for row in zip(*columns, strict=True):
            out.write(separator + _json.encode(dict(zip(names, row, strict=True))))
            separator = b",\n"
    out.write(b"\n]\n")
    out.flush()


def write_table(reader: pa.RecordBatchReader) -> None:
    """The first rows, for people; one block per row where a table would be wider than the terminal."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = [_printable(name) for name in reader.schema.names]
    rows = list(itertools.islice(_text_rows(reader), TABLE_ROWS + 1))
    has_more = len(rows) > TABLE_ROWS
    del rows[TABLE_ROWS:]
    width = sum(3 + max(map(cell_len, column)) for column in zip(names, *rows, strict=True)) - 3  # three between two
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(width, console.width)

    def cell(value: str) -> Text:
        return Text(value, style="dim" if value == NULL else "")

    if width <= console.width:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for name, kind in zip(names, reader.schema.types, strict=True):
            is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            table.add_column(Text(name), justify="right" if is_number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(cell, row))
        console.print(table)
    else:
        for number, row in enumerate(rows, 1):
            console.rule(f"row {number:,}", align="left", style="dim")
            block = Table.grid(padding=(0, 2))
            for name, value in zip(names, row, strict=True):
                block.add_row(Text(name, style="bold", no_wrap=True), cell(value))
            console.print(block)
    shown = (
        f"the first {TABLE_ROWS:,} rows; --format csv or json prints all"
        if has_more
        else f"{len(rows):,} row{'s' * (len(rows) != 1)}"
    )
    click.echo(f"({shown})", err=True)


WRITERS: Mapping[str, Callable[[pa.RecordBatchReader], None]] = {
    "csv": write_csv,
    "json": write_json,
    "table": write_table,
}


def _text_rows(reader: pa.RecordBatchReader) -> Iterator[Sequence[str]]:
    for batch in reader:
        columns = [_as_text(column, between=" ").fill_null(NULL).to_pylist() for column in batch.columns]
        for row in zip(*columns, strict=True):
            yield [_printable(value) for value in row]


def _printable(text: str) -> str:
    """The text without what would move a terminal's cursor: values come from the internet."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _as_text(column: pa.Array, between: str = "T") -> pa.Array:
    """The column as strings; `between` stands between date and time."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        naive = column.cast(pa.timestamp(kind.unit))
        text = pc.replace_substring_regex(naive.cast(pa.string()), r"(-\d\d) ", rf"\1{between}")
        text = pc.replace_substring_regex(text, r"\.0+$", "")
        return text if kind.tz is None else pc.binary_join_element_wise(text, "+00:00", "")
    if pa.types.is_nested(kind):
        return pa.array(
            [None if value is None else _json.encode(value).decode() for value in column.to_pylist()], pa.string()
        )
    return column.cast(pa.string())


def _as_json_values(column: pa.Array) -> Sequence[Any]:
    is_text = pa.types.is_temporal(column.type)
    values: Sequence[Any] = (_as_text(column) if is_text else column).to_pylist()
    return values


def _csv_quoted(text: pa.Array) -> pa.Array:
    needs_quotes = pc.match_substring_regex(text, '[",\r\n]')
    if not pc.any(needs_quotes).as_py():
        return text
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(needs_quotes, quoted, text)
