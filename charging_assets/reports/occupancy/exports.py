"""Reports as csv and Parquet; `workbook` has xlsx. The same report gives the same bytes.

Belongs here: what a format asks for, and how it carries where the figures are from. Does not belong here: which figures
there are (`content`, `figures`).

A csv says it in columns: lines of text above or below the rows would make every column a text to pandas, and a file of
its own gets lost. So each row, copied wherever, names its report, period, method and source; `notes` says the rest.
"""

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from charging_assets.model.tables import table
from charging_assets.reports.occupancy.content import Report
from charging_assets.reports.occupancy.figures import Figure, doc_of, row_figures
from charging_assets.reports.occupancy.notes import headline
from charging_assets.reports.occupancy.provenance import SIMULATED

Decimal = Literal["point", "comma"]

PROVENANCE = b"charging_assets.provenance"
"""Of the metadata of a Parquet file's schema: `Provenance` and the report's title as a JSON object."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet may take for a formula; the last four are full-width ones."""


# -- csv -------------------------------------------------------------------------------------------------------------


def to_csv(report: Report, decimal: Decimal = "point") -> bytes:
    """The rows as a csv that Excel opens by a double click: UTF-8 with BOM, semicolons, CRLF; hidden figures are empty.

    Args:
        report: what is written.
        decimal: `comma` for German programs, which take 3.5 for the third of May.
    """
    figures = row_figures(report.by)
    origin = _origin(report)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow([*(figure.heading for figure in figures), *origin])
    for row in zip(*(_cells(figure, report.rows, decimal) for figure in figures), strict=True):
        writer.writerow([*row, *origin.values()])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _origin(report: Report) -> Mapping[str, str]:
    """The columns that say where a row is from."""
    said = report.provenance
    return {
        "Report": said.report_id,
        "From": said.first.isoformat(),
        "To": said.last.isoformat(),
        "Polled": said.polled,
        "Method": said.method_version,
        "Code": ", ".join([said.code_version, *said.other_versions]),
        "Source": " ".join(str(source) for source in said.sources),
    }


def _cells(figure: Figure, rows: pa.Table, decimal: Decimal) -> list[str]:
    cells = figure.printed(rows)
    if figure.kind == "text":
        return [_harmless(cell) for cell in cells]
    return [cell.replace(".", ",") for cell in cells] if decimal == "comma" else cells


def _harmless(text: str) -> str:
    """As a text that no spreadsheet computes: names come from the internet."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


# -- Parquet ---------------------------------------------------------------------------------------------------------


def to_parquet(report: Report) -> bytes:
    """The rows with names and units of the data model; metadata says where they are from, and what each column is."""
    out = io.BytesIO()
    pq.write_table(with_provenance(report), out, compression="zstd")
    return out.getvalue()


def with_provenance(report: Report) -> pa.Table:
    """The rows with where they are from in the metadata of their schema."""
    columns = table("kpi_monthly").columns
    fields = [
        field.with_metadata({"doc": doc_of(field.name), "unit": columns[field.name].info["unit"] or ""})
        if field.name in columns
        else field
        for field in report.rows.schema
    ]
    said = {"title": headline(report), **asdict(report.provenance)}
    if report.provenance.is_simulated:
        said["warning"] = SIMULATED
    metadata = {PROVENANCE: json.dumps(said, ensure_ascii=False, default=str)}
    return report.rows.cast(pa.schema(fields, metadata))


# -- files -----------------------------------------------------------------------------------------------------------


def write_file(path: Path, content: bytes) -> None:
    """Put a file in place of the one before it, when all of it is written.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
