"""Every statement that Redshift is sent, as a golden file, and checked against the vendor's rules.

A parser is no validator: what Redshift refuses is listed here by hand, from its documentation.
"""

import datetime as dt
import re
from collections.abc import Sequence

import pytest
import sqlglot
from sqlalchemy import BigInteger, Boolean, Date, Double, Integer, MetaData, Table
from sqlglot import exp
from syrupy.assertion import SnapshotAssertion

from charging_assets.model.tables import METADATA, is_dated
from charging_assets.model.tables.declare import column, declare, geometry, text, time
from charging_assets.warehouse.contract import WarehouseError, published_tables
from charging_assets.warehouse.redshift import RedshiftConfig, statements
from charging_assets.warehouse.redshift.ddl import RedshiftDdl
from charging_assets.warehouse.schema import Found, load_log, plan, store_tables

DAY = dt.date(2024, 10, 23)
ROLE = "arn:aws:iam::123456789012:role/charging-lake"
MANIFEST = "s3://bucket/prefix/manifests/table/0123.json"
KINDS = MetaData()

all_kinds = declare(
    "all_kinds",
    "One column of each kind. It's 100 % of them.",
    text("id_kind", "An id.", few=True),
    time("seen", "A time."),
    column("query_date", Date(), "A date."),
    text("word", "One of few words.", nullable=True, few=True),
    text("note", "Any text.", nullable=True),
    column("small", Integer(), "A number.", unit="kW"),
    column("large", BigInteger(), "A large number."),
    column("share", Double(), "A share.", nullable=True),
    column("is_so", Boolean(), "Whether it is so."),
    geometry("geom", "A shape.", nullable=True),
    key=("id_kind", "seen"),
    group="test",
    dated=True,
    computed={"id_row": ("id_kind || '@' || word", "Identifies the row.")},
    metadata=KINDS,
)
shapes = declare(
    "shapes",
    "Shapes by id.",
    column("id_shape", BigInteger(), "An id."),
    geometry("geom", "A shape."),
    key=("id_shape",),
    group="test",
    dated=False,
    metadata=KINDS,
)

NOTHING = Found((), (), {})

REFUSED = (
    r"\bON CONFLICT\b",
    r"\bCREATE (UNIQUE )?INDEX\b",
    r"\bARRAY\b|\[\]",
    r"\bJSONB?\b",
    r"\bUUID\b",
    r"\b(BIG)?SERIAL\b",
    r"\bDISTINCT ON\b",
    r"\bFILTER\b",
    r"\bLATERAL\b",
    r"\bgenerate_series\b",
    r"\bSAVEPOINT\b",
    r"\bFROM STDIN\b",
    r"\bRETURNING\b",
    r"\bBYTEA\b",
    r"\bTEXT\b",  # as well
    r"(?<! AS )\bVARCHAR\b(?!\()",  # of 256 bytes, in a column
    r"\bPARTITION BY\b",
    r"\bUNLOGGED\b|\bON COMMIT\b|\bTABLESPACE\b|\bTRIGGER\b",
    r"\bCREATE OR REPLACE (VIEW|TABLE)\b",
    r"\bADD COLUMN IF NOT EXISTS\b",
    r"\bpg_(advisory_|sleep)\w*",
    r"::",
    r"\b(TRUNCATE|ALTER TABLE \S+ APPEND)\b",  # they commit what is open
    r"\b(PRIMARY|FOREIGN) KEY\b|\bUNIQUE\b",  # believed, and not enforced
)
SECRETS = r"(?i)access_key|secret|token|password|session"

ENCODINGS = {
    "AZ64": r"SMALLINT|INTEGER|BIGINT|DECIMAL.*|DATE|TIMESTAMP.*",
    "BYTEDICT": r"SMALLINT|INTEGER|BIGINT|DECIMAL.*|REAL|DOUBLE PRECISION|CHAR.*|VARCHAR.*|DATE|TIMESTAMP.*",
    "ZSTD": r"(?!GEOMETRY|SUPER).*",
    "RAW": r".*",
}
"""Which types an encoding is for, by the vendor's table of them."""


def schema_statements(metadata: MetaData) -> list[str]:
    ddl = RedshiftDdl()
    planned = [statement for step in plan(metadata, NOTHING, ddl) for statement in step.statements]
    return planned + [statement for tab in published_tables(metadata) for statement in ddl.create_lock(tab)]


def load_statements(tab: Table, columns: Sequence[str] | None = None) -> list[str]:
    """Those of a load, in their order; values of the load log are given apart from them."""
    names = [col.name for col in tab.columns] if columns is None else columns
    return [
        statements.create_stage(tab, names),
        statements.copy(tab, names, MANIFEST, ROLE),
        statements.COUNT_STAGED,
        statements.lock(tab),
        statements.delete(tab, DAY if is_dated(tab) else None),
        statements.insert(tab, names),
        statements.DELETE_LOG,
        statements.INSERT_LOG,
    ]


LOADED = [*(tab for tab in store_tables(METADATA) if tab is not load_log), *KINDS.tables.values()]
EMITTED = [
    *schema_statements(METADATA),
    *schema_statements(KINDS),
    *(statement for tab in LOADED for statement in load_statements(tab)),
    statements.SELECT_LOG,
    statements.FIND_LOAD,
]


def script(lines: Sequence[str]) -> str:
    return ";\n".join(re.sub(r"\s*\n\s*", "\n    ", line) for line in lines) + ";"


def code_text(statement: str) -> str:
    """The statement with its values and its names in quotes left out."""
    return re.sub(r"'(?:[^']|'')*'", "''", re.sub(r'"[^"]*"', '""', " ".join(statement.split())))


def created_columns(statement: str) -> list[tuple[str, str, str]]:
    """Name, type and encoding of the columns of a CREATE TABLE."""
    return re.findall(r'^\s+"(\w+)" ([A-Z0-9() ]+?) ENCODE (\w+)', statement, re.MULTILINE)


@pytest.mark.parametrize("name", ["model", "kinds"])
def test_the_schema_is_made_by_the_statements_that_were_looked_at(name: str, snapshot: SnapshotAssertion) -> None:
    assert script(schema_statements({"model": METADATA, "kinds": KINDS}[name])) == snapshot


@pytest.mark.parametrize("tab", LOADED, ids=lambda tab: str(tab.name))
def test_a_load_is_made_of_the_statements_that_were_looked_at(tab: Table, snapshot: SnapshotAssertion) -> None:
    assert script(load_statements(tab)) == snapshot


def test_an_older_file_is_staged_and_inserted_by_its_own_columns(snapshot: SnapshotAssertion) -> None:
    assert script(load_statements(all_kinds, ["id_kind", "seen", "query_date"])) == snapshot


def test_columns_are_added_one_by_one_and_the_view_is_made_anew(snapshot: SnapshotAssertion) -> None:
    ddl = RedshiftDdl()
    has = {col.name: ddl.catalog_type(col) for col in all_kinds.columns if col.name not in ("is_so", "geom")}
    columns = {("charging_store", "all_kinds"): has, ("charging", "all_kinds"): {"id_row": "", **has}}
    ready = Found(("charging", "charging_store"), ("charging_loader", "charging_reader"), columns)
    steps = [step for step in plan(KINDS, ready, ddl) if "all_kinds" in step.what]
    assert script([statement for step in steps for statement in step.statements]) == snapshot


def test_every_statement_is_one_statement_of_redshifts_language() -> None:
    for statement in EMITTED:
        given = statement.replace("%s", "'x'") if "load_log" in statement else statement  # as psycopg2 puts them in
        (tree,) = sqlglot.parse(given, read="redshift")
        # What the parser knows only by its first word stays a text.
        assert not isinstance(tree, exp.Command) or re.match(r'CREATE ROLE \w+$|LOCK \w+\."\w+"$|GRANT ', given), given


@pytest.mark.parametrize("pattern", REFUSED)
def test_no_statement_has_what_redshift_refuses_or_we_do_without(pattern: str) -> None:
    assert [text for text in map(code_text, EMITTED) if re.search(pattern, text, re.IGNORECASE)] == []


def test_what_is_refused_would_be_found() -> None:
    refused = [
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "CREATE TABLE t (a text)",
        "CREATE TABLE t (a varchar)",
        "SELECT a::date FROM t",
        "CREATE TABLE t (a INTEGER PRIMARY KEY)",
        "TRUNCATE t",
    ]
    for statement in refused:
        assert any(re.search(pattern, code_text(statement), re.IGNORECASE) for pattern in REFUSED), statement


def test_no_statement_holds_a_key_or_a_password() -> None:
    assert [text for text in map(code_text, EMITTED) if re.search(SECRETS, text)] == []
    credentials = {match for text in EMITTED for match in re.findall(r"CREDENTIALS AS ('[^']*')", text)}
    assert credentials == {f"'aws_iam_role={ROLE}'"}


@pytest.mark.parametrize("tab", LOADED, ids=lambda tab: str(tab.name))
def test_a_load_has_one_copy_and_that_says_only_what_copy_of_parquet_knows(tab: Table) -> None:
    copies = [text for text in load_statements(tab) if text.startswith("COPY")]
    assert [code_text(copy) for copy in copies] == [
        "COPY \"\" FROM '' WITH CREDENTIALS AS '' FORMAT AS PARQUET MANIFEST"
    ]


@pytest.mark.parametrize(
    "address", ["s3://b/it's mine/m.json", "s3://b/100%s of :it/m.json", 's3://b/"a" (b); --/m.json', "s3://b/ä €/m"]
)
def test_an_address_of_whatever_characters_stays_one_value(address: str) -> None:
    copy = statements.copy(shapes, ["id_shape", "geom"], address, ROLE)
    values = [token.text for token in sqlglot.tokenize(copy, read="redshift") if token.token_type.name == "STRING"]
    assert values == [address, f"aws_iam_role={ROLE}"]


@pytest.mark.parametrize(
    "role",
    [
        "",
        "charging-lake",
        "arn:aws:iam::1:role/x",
        f"{ROLE}'; DROP TABLE x; --",
        "aws_access_key_id=A",
        f"{ROLE},{ROLE}",
    ],
)
def test_only_the_arn_of_a_role_is_taken_for_one(role: str) -> None:
    with pytest.raises(WarehouseError, match="expected the ARN of a role"):
        RedshiftConfig(host="h", database="d", user="u", iam_role=role)


@pytest.mark.parametrize("path", ["", "service-role/", "a/b/"])
def test_a_role_may_have_a_path(path: str) -> None:
    role = f"arn:aws-cn:iam::123456789012:role/{path}Lake+=,.@-_1"
    config = RedshiftConfig(host="h", database="d", user="u", iam_role=role)
    assert f"'aws_iam_role={role}'" in statements.copy(shapes, ["geom"], MANIFEST, config.iam_role)


def test_every_column_is_encoded_as_its_type_allows() -> None:
    tables = [text for text in EMITTED if text.startswith(("CREATE TABLE", "CREATE TEMP")) and "_lock" not in text]
    assert len(tables) == 2 * len(LOADED) + 2  # and the load log of each schema
    for statement in tables:
        columns = created_columns(statement)
        assert len(columns) == statement.count("\n\t")
        for name, kind, encoding in columns:
            assert re.fullmatch(ENCODINGS[encoding], kind), f"{name} {kind} {encoding} in {statement}"


@pytest.mark.parametrize("tab", [*LOADED, load_log], ids=lambda tab: str(tab.name))
def test_tables_are_spread_and_sorted_for_the_queries_that_are_asked(tab: Table) -> None:
    created = RedshiftDdl().create_table(tab)[0]
    options = created.rpartition("\n)")[2]
    matched = re.fullmatch(r" DISTSTYLE (EVEN|ALL) SORTKEY \(([^)]+)\)", options)
    assert matched is not None
    style, names = matched[1], [name.strip('"') for name in matched[2].split(", ")]
    assert style == ("EVEN" if is_dated(tab) else "ALL")
    assert set(names) <= set(tab.columns.keys())
    if is_dated(tab):
        assert len(names) == 1
        assert str(tab.columns[names[0]].type) in ("DATETIME", "DATE")


@pytest.mark.parametrize("tab", [*LOADED, load_log], ids=lambda tab: str(tab.name))
def test_only_the_key_must_not_be_null_and_no_text_is_cut_off(tab: Table) -> None:
    created = RedshiftDdl().create_table(tab)[0]
    assert set(re.findall(r'"(\w+)"[^"\n]* NOT NULL', created)) == {col.name for col in tab.primary_key.columns}
    assert set(re.findall(r"VARCHAR\((\d+)\)", created)) <= {"65535"}


def test_the_catalog_words_types_as_tables_are_checked_by() -> None:
    ddl = RedshiftDdl()
    assert {col.name: ddl.catalog_type(col) for col in all_kinds.columns} == {
        "id_kind": "character varying(65535)",
        "seen": "timestamp with time zone",
        "query_date": "date",
        "word": "character varying(65535)",
        "note": "character varying(65535)",
        "small": "integer",
        "large": "bigint",
        "share": "double precision",
        "is_so": "boolean",
        "geom": "geometry",
    }
