"""The data dictionary `docs/data_dictionary.md`, generated: ``python -m charging_assets.model.dictionary > docs/…``."""

import sys
from typing import Any

from sqlalchemy import Column, DateTime, Table
from sqlalchemy.dialects import postgresql

from charging_assets.model.tables import METADATA, SCHEMA_VERSION, is_dated, key_of, made_from

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
_HEAD = f"""# Data dictionary

Generated from `charging_assets/model/tables/` (schema version {SCHEMA_VERSION}) by `make docs`; a test fails when it is
stale. Types are PostgreSQL's. Times are UTC. *View* columns are computed by the views that SQL sees, not stored.
"""


def data_dictionary() -> str:
    """The dictionary as Markdown."""
    return "\n".join([_HEAD, *(_section(table) for table in METADATA.tables.values())])


def type_name(column: Column[Any]) -> str:
    """PostgreSQL's name of a column's type, e.g. `varchar`, `timestamptz`."""
    if isinstance(column.type, DateTime):
        return "timestamptz"
    return str(column.type.compile(dialect=_POSTGRESQL)).lower()


def _section(table: Table) -> str:
    partition = "one file per query date" if is_dated(table) else "one file, not dated"
    key = ", ".join(f"`{name}`" for name in key_of(table))
    source = f" · made from {', '.join(f'`{name}`' for name in made_from(table))}" if made_from(table) else ""
    lines = [
        f"## `{table.name}`\n",
        f"{table.comment}\n",
        f"Group `{table.info['group']}` · {partition} · key and order: {key}{source}\n",
        "| column | type | null | unit | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{c.name}` | {type_name(c)} | {'yes' if c.nullable else ''} | {c.info['unit'] or ''} | {c.comment} |"
        for c in table.columns
    ]
    lines += [f"| `{name}` (view) | varchar |  |  | {doc} |" for name, (_, doc) in table.info["computed"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(data_dictionary())
