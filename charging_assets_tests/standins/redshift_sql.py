"""Redshift's SQL as the stand-in takes it: what is refused, and what becomes of the rest for PostgreSQL.

A statement is changed in its text, and only where the two differ. COPY is not here. REDSHIFT.md says which of the rules
are the vendor's, and where the two still differ.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from charging_assets_tests.standins.pgproxy import SqlError

# sqlglot's own tokenizer takes what follows LOCK, VACUUM or SHOW for one string, in which nothing can be found.
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]++|\\.|'')*+'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<name>"(?:[^"]|"")+")
      | (?P<word>[^\W\d][\w$]*)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
      | (?P<mark>::|<=|>=|<>|!=|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A part of a statement. `key` is the word in capitals, or the mark; empty for names in quotes and for literals."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def key(self) -> str:
        return self.text.upper() if self.kind in ("word", "mark", "number") else ""

    @property
    def name(self) -> str:
        """The name that is meant: Redshift folds all of them to small letters, in quotes or not."""
        return self.text.strip('"').replace('""', '"').lower()

    @property
    def literal(self) -> str:
        """What a string says."""
        return re.sub(r"\\(.)|''", lambda match: match[1] or "'", self.text[1:-1], flags=re.DOTALL)


class Statement:
    """One statement, read from the front.

    Attributes:
        sql: its text.
        tokens: all of them.
    """

    def __init__(self, sql: str, tokens: Sequence[Token]) -> None:
        self.sql, self.tokens = sql, tokens
        self.at = 0

    @property
    def verb(self) -> str:
        return self.tokens[0].key

    @property
    def is_over(self) -> bool:
        return self.at == len(self.tokens)

    def sees(self, *keys: str) -> bool:
        """Whether these come next."""
        return tuple(token.key for token in self.tokens[self.at : self.at + len(keys)]) == keys

    def skips(self, *keys: str) -> bool:
        """Whether these come next; they are taken if so."""
        is_so = self.sees(*keys)
        self.at += len(keys) * is_so
        return is_so

    def sees_any(self, *keys: str) -> bool:
        """Whether one of these comes next."""
        return not self.is_over and self.tokens[self.at].key in keys

    def skips_any(self, *keys: str) -> bool:
        """Whether one of these comes next; it is taken if so."""
        is_so = self.sees_any(*keys)
        self.at += is_so
        return is_so

    def take(self) -> Token:
        """The next one.

        Raises:
            SqlError: there is none.
        """
        if self.is_over:
            raise SqlError("42601", f"syntax error at end of input: {self.sql}")
        self.at += 1
        return self.tokens[self.at - 1]

    def must(self, *keys: str) -> None:
        """Take what has to come next."""
        if not self.skips(*keys):
            self.unreadable()

    def must_be_over(self) -> None:
        if not self.is_over:
            self.unreadable()

    def unreadable(self) -> NoReturn:
        """Raise SqlError: this is not what may stand here."""
        near = self.sql[self.tokens[self.at].start :] if not self.is_over else "end of input"
        raise SqlError("42601", f'syntax error at or near "{near[:60]}", as the Redshift stand-in reads it')

    def take_name(self) -> str:
        """A name with its schema, as it stands."""
        first = last = self.take()
        while self.skips("."):
            last = self.take()
        if first.kind not in ("word", "name"):
            self.unreadable()
        return self.sql[first.start : last.end]

    def take_parentheses(self) -> list["Statement"]:
        """What stands between a pair of them, parted by commas."""
        self.must("(")
        parts, begin, depth = [], self.at, 1
        while depth:
            key = self.take().key
            depth += (key == "(") - (key == ")")
            if (key == "," and depth == 1) or depth == 0:
                parts.append(Statement(self.sql, self.tokens[begin : self.at - 1]))
                begin = self.at
        return parts

    def take_until(self, *keys: str) -> str:
        """Text up to one of these keys outside parentheses, or to the end."""
        begin = self.at
        while not self.is_over and self.tokens[self.at].key not in keys:
            if self.sees("("):
                self.take_parentheses()
            else:
                self.take()
        return self.text(begin, self.at)

    def text(self, begin: int, end: int | None = None) -> str:
        """The text of a range of tokens."""
        tokens = self.tokens[begin:end]
        return self.sql[tokens[0].start : tokens[-1].end] if tokens else ""

    def rest(self) -> str:
        """The text of what was not yet taken."""
        return self.text(self.at)

    def whole(self) -> str:
        """The text of all of it."""
        return self.text(0)


@dataclass(frozen=True)
class Translated:
    """A statement for PostgreSQL.

    Attributes:
        sql: its text.
        commits: whether Redshift commits when it was carried out.
        is_alone: whether Redshift refuses it inside a transaction.
    """

    sql: str
    commits: bool = False
    is_alone: bool = False


def split(sql: str) -> list[Statement]:
    """The statements of a text, in which names are folded to small letters, as Redshift does even in quotes.

    Raises:
        SqlError: a string or a name has no end.
    """
    sql = _TOKEN.sub(_as_known, sql)
    statements: list[list[Token]] = [[]]
    for match in _TOKEN.finditer(sql):
        kind = "string" if match.lastgroup == "tag" else str(match.lastgroup)
        if kind == "mark" and match[0] in "'\"":
            raise SqlError("42601", f"unterminated quoted string at or near {sql[match.start() :][:60]}")
        if match[0] == ";":
            statements.append([])
        elif kind != "space":
            statements[-1].append(Token(kind, match[0], match.start(), match.end()))
    return [Statement(sql, tokens) for tokens in statements if tokens]


def _as_known(match: re.Match[str]) -> str:
    if match.lastgroup == "name":
        return match[0].lower()
    return "standin_sysdate()" if match[0].upper() == "SYSDATE" else match[0]


def translate(statement: Statement) -> Translated:
    """A statement as PostgreSQL shall carry it out.

    Raises:
        SqlError: Redshift, or the stand-in, does not carry it out (SQLSTATE 0A000, except for what cannot be read).
    """
    _refuse_words(statement)
    handler = _HANDLERS.get(statement.verb)
    if handler is None:
        unsupported(statement.verb)
    done = handler(statement)
    return done if isinstance(done, Translated) else Translated(done)


def unsupported(what: str) -> NoReturn:
    """Raise SqlError for what Redshift refuses."""
    raise SqlError("0A000", f"{what} is not supported by Amazon Redshift (said by its stand-in)")


def beyond(what: str) -> NoReturn:
    """Raise SqlError for what Redshift may well do."""
    raise SqlError("0A000", f"{what} is not carried out by the stand-in of Amazon Redshift")


def quoted(text: str) -> str:
    """A literal, where backslashes escape."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


# ---------------------------------------------------------------- words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MISSING_FUNCTIONS = _words("""
    array_agg array_to_string bit_length clock_timestamp convert_from convert_to corr covar_pop covar_samp currval div
    encode every format gen_random_uuid generate_series generate_subscripts jsonb_agg json_agg jsonb_build_object
    json_build_object justify_days justify_hours justify_interval lastval nextval overlay pg_advisory_lock
    pg_advisory_unlock pg_advisory_xact_lock pg_relation_size pg_size_pretty pg_sleep pg_total_relation_size
    pg_try_advisory_lock pg_try_advisory_xact_lock quote_nullable regexp_matches regexp_split_to_array
    regexp_split_to_table row_to_json setseed setval statement_timestamp string_agg to_json to_jsonb
    transaction_timestamp unnest uuid_generate_v4 width_bucket xmlagg""")
_LEADER_ONLY = _words("current_timestamp current_time localtimestamp localtime")


def _refuse_words(statement: Statement) -> None:
    tokens = statement.tokens
    for before, token, after in zip((None, *tokens[:-1]), tokens, (*tokens[1:], None), strict=True):
        if token.kind != "word":
            continue
        follows = after.key if after is not None else ""
        if token.name in _MISSING_FUNCTIONS and follows == "(":
            unsupported(f"{token.text}()")
        if token.name in _LEADER_ONLY or (token.key == "NOW" and follows == "("):
            unsupported(f"{token.text} (but SYSDATE and GETDATE() are)")
        if token.key == "E" and after is not None and after.kind == "string" and after.start == token.end:
            unsupported("a string E'…'")
        if token.key == "BYTEA" and before is not None and before.key in ("::", "AS"):
            unsupported("BYTEA (VARBYTE is)")


# ---------------------------------------------------------------- queries and changes of rows

_Kinds = type[exp.Expr] | tuple[type[exp.Expr], ...]
_REFUSED: tuple[tuple[_Kinds, str], ...] = (
    (exp.OnConflict, "ON CONFLICT"),
    (exp.Returning, "RETURNING"),
    (exp.Filter, "an aggregate with FILTER"),
    (exp.Lateral, "LATERAL"),
    (exp.Unnest, "UNNEST"),
    ((exp.Array, exp.Bracket), "an array"),
    ((exp.NullSafeEQ, exp.NullSafeNEQ), "IS DISTINCT FROM"),
    (exp.Lock, "SELECT … FOR UPDATE or FOR SHARE"),
    (exp.TableSample, "TABLESAMPLE"),
    (exp.Fetch, "FETCH FIRST (but LIMIT is)"),
    ((exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBContains), "an operator on JSON"),
    (exp.ObjectIdentifier, "a cast to an object identifier such as REGCLASS"),
)
_CASTS = {
    getattr(exp.DataType.Type, name)
    for name in _words("""BIGINT BOOLEAN BPCHAR CHAR DATE DECIMAL DOUBLE FLOAT GEOMETRY INT INTERVAL NCHAR NVARCHAR
        SMALLINT TEXT TIME TIMESTAMP TIMESTAMPNTZ TIMESTAMPTZ TIMETZ VARBINARY VARCHAR""")
}
_SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")


def _query(statement: Statement) -> str:
    """SELECT, INSERT, UPDATE, DELETE."""
    _check_query(statement.rest())
    return statement.whole()


def _check_query(sql: str) -> exp.Expr:
    try:
        tree = sqlglot.parse_one(sql, read="redshift")
    except SqlglotError as error:
        raise SqlError("42601", f"syntax error, as the Redshift stand-in reads it: {error}") from error
    for kinds, what in _REFUSED:
        if tree.find(*(kinds if isinstance(kinds, tuple) else (kinds,))) is not None:
            unsupported(what)
    for node in tree.walk():
        _check_node(node)
    tables = [table for table in tree.find_all(exp.Table) if table.name]
    are_system = {table.db.lower() in _SYSTEM_SCHEMAS or table.name.lower().startswith("pg_") for table in tables}
    if len(are_system) == 2:
        unsupported("a system table of the leader node beside a user's table in one statement")
    return tree


def _check_node(node: exp.Expr) -> None:
    if isinstance(node, exp.Distinct) and node.args.get("on"):
        unsupported("DISTINCT ON")
    if isinstance(node, exp.Values) and not isinstance(node.parent, exp.Insert):
        unsupported("VALUES as a table")
    if isinstance(node, exp.DataType) and node.this not in _CASTS:
        unsupported(f"the type {node.sql('redshift')}")
    if isinstance(node, exp.Command):
        unsupported(node.sql("redshift"))
    if isinstance(node, exp.CTE) and not isinstance(node.this, exp.Query):
        unsupported("a change of rows inside WITH")


def _explain(statement: Statement) -> str:
    statement.must("EXPLAIN")
    statement.skips("VERBOSE")
    if not (statement.sees_any("SELECT", "WITH")):
        unsupported("EXPLAIN with ANALYZE or options")
    return _query(statement)


def _cursor(statement: Statement) -> str:
    statement.take_until("FOR")
    statement.must("FOR")
    return _query(statement)


# ---------------------------------------------------------------- tables

_INTEGERS = ("SMALLINT", "INTEGER", "BIGINT")
_AZ64 = (*_INTEGERS, "DECIMAL", "DATE", "TIMESTAMP", "TIMESTAMPTZ")
_TEXTS = ("CHAR", "VARCHAR")
_WITHOUT_BOOLEAN = (*_AZ64, "REAL", "DOUBLE PRECISION", *_TEXTS)
_DELTA = ("INTEGER", "BIGINT", "DATE", "TIMESTAMP", "DECIMAL")
_ENCODINGS = {
    "RAW": (*_WITHOUT_BOOLEAN, "BOOLEAN", "TIME", "TIMETZ", "VARBYTE", "GEOMETRY"),
    "AZ64": _AZ64,
    "BYTEDICT": _WITHOUT_BOOLEAN,
    "DELTA": ("SMALLINT", *_DELTA),
    "DELTA32K": _DELTA,
    "LZO": (*_AZ64, *_TEXTS, "VARBYTE"),
    "MOSTLY8": (*_INTEGERS, "DECIMAL"),
    "MOSTLY16": ("INTEGER", "BIGINT", "DECIMAL"),
    "MOSTLY32": ("BIGINT", "DECIMAL"),
    "RUNLENGTH": (*_WITHOUT_BOOLEAN, "BOOLEAN"),
    "TEXT255": ("VARCHAR",),
    "TEXT32K": ("VARCHAR",),
    "ZSTD": (*_WITHOUT_BOOLEAN, "BOOLEAN", "VARBYTE"),
}
_SPELLINGS = {  # the longest come first
    "DOUBLE PRECISION": "DOUBLE PRECISION",
    "CHARACTER VARYING": "VARCHAR",
    "BINARY VARYING": "VARBYTE",
    "TIMESTAMP WITHOUT TIME ZONE": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ",
    "TIME WITHOUT TIME ZONE": "TIME",
    "TIME WITH TIME ZONE": "TIMETZ",
    **dict.fromkeys(("SMALLINT", "INT2"), "SMALLINT"),
    **dict.fromkeys(("INTEGER", "INT", "INT4"), "INTEGER"),
    **dict.fromkeys(("BIGINT", "INT8"), "BIGINT"),
    **dict.fromkeys(("DECIMAL", "NUMERIC"), "DECIMAL"),
    **dict.fromkeys(("REAL", "FLOAT4"), "REAL"),
    **dict.fromkeys(("FLOAT", "FLOAT8"), "DOUBLE PRECISION"),
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    **dict.fromkeys(("CHAR", "CHARACTER", "NCHAR", "BPCHAR"), "CHAR"),
    **dict.fromkeys(("VARCHAR", "NVARCHAR"), "VARCHAR"),
    **dict.fromkeys(("VARBYTE", "VARBINARY"), "VARBYTE"),
    **{name: name for name in ("DATE", "TIME", "TIMETZ", "TIMESTAMP", "TIMESTAMPTZ", "GEOMETRY")},
}
_LONGEST = {"CHAR": 4096, "VARCHAR": 65535, "VARBYTE": 16777216}
_OTHER_TYPES = ("SUPER", "HLLSKETCH", "GEOGRAPHY", "INTERVAL")
_COLUMN_OPTIONS = _words("""
    CHECK COLLATE CONSTRAINT DEFAULT DISTKEY ENCODE GENERATED IDENTITY NOT NULL PRIMARY REFERENCES SORTKEY UNIQUE""")
_CONSTRAINTS = (("CONSTRAINT",), ("PRIMARY", "KEY"), ("UNIQUE",), ("FOREIGN", "KEY"), ("CHECK",), ("EXCLUDE",))


@dataclass
class Column:
    """A column as declared. `server_type` is PostgreSQL's; `length` is in bytes."""

    name: str
    quoted: str
    type: str = ""
    server_type: str = ""
    length: int | None = None
    default: str | None = None
    options: set[str] = field(default_factory=set)

    def sql(self) -> str:
        """The column as PostgreSQL shall make it."""
        default = f" DEFAULT {self.default}" if self.default is not None else ""
        return f"{self.quoted} {self.server_type}{default}{' NOT NULL' * ('NOT NULL' in self.options)}{self.check()}"

    def check(self) -> str:
        """That bytes are counted, and with Redshift's words."""
        if self.length is None or self.type == "CHAR":
            return ""
        words = {"VARCHAR": "character varying", "VARBYTE": "binary varying"}[self.type]
        return (
            f" CONSTRAINT {self.check_name()} CHECK (CASE WHEN octet_length({self.quoted}) > {self.length}"
            f" THEN standin_too_long({quoted(f'{words}({self.length})')}) END)"
        )

    def check_name(self) -> str:
        return '"' + self.name.replace('"', '""')[:50] + '_bytes"'


def _create_table(statement: Statement, begin: str) -> str:
    if statement.skips("IF", "NOT", "EXISTS"):
        begin += " IF NOT EXISTS"
    begin += f" {statement.take_name()}"
    parts = statement.take_parentheses() if statement.sees("(") else []
    keys = _table_options(statement)
    if statement.skips("AS"):
        _check_query(statement.rest())
        names = f" ({', '.join(part.take_name() for part in parts)})" if parts else ""
        return f"{begin}{names} AS {statement.rest()}"
    statement.must_be_over()
    columns, likes = _elements(parts)
    known = {column.name for column in columns}
    for key in keys:
        if key not in known and not likes:
            raise SqlError("42703", f'column "{key}" named in a key does not exist in the table (said by the stand-in)')
    for column in columns:
        if column.type == "GEOMETRY" and (column.name in keys or column.options & {"SORTKEY", "DISTKEY"}):
            unsupported("a GEOMETRY column as a key of a table")
    return f"{begin} ({', '.join([*(column.sql() for column in columns), *likes])})"


def _elements(parts: list[Statement]) -> tuple[list[Column], list[str]]:
    columns, likes, key = [], [], set()
    for part in parts:
        if part.skips("LIKE"):
            likes.append(f"LIKE {part.take_name()} INCLUDING CONSTRAINTS {part.rest()}")
        elif any(part.sees(*words) for words in _CONSTRAINTS):
            key |= _table_constraint(part)
        else:
            columns.append(_column(part))
    for column in columns:
        if column.name in key:
            column.options.add("NOT NULL")
    return columns, likes


def _table_constraint(part: Statement) -> set[str]:
    """The columns of a primary key. No key is enforced; that those of the primary one are not null is."""
    if part.skips("CONSTRAINT"):
        part.take_name()
    if part.sees_any("CHECK", "EXCLUDE"):
        unsupported(f"a constraint {part.take().key}")
    if part.skips("PRIMARY", "KEY"):
        return {column.take().name for column in part.take_parentheses()}
    return set()


def _column(part: Statement) -> Column:
    name = part.take()
    column = Column(name.name, name.text)
    _take_type(part, column)
    while not part.is_over:
        _take_column_option(part, column)
    return column


def _take_type(part: Statement, column: Column) -> None:
    spelling = next((words for words in _SPELLINGS if part.skips(*words.split())), None)
    if spelling is None:
        word = part.take().text
        if word.upper() in _OTHER_TYPES:
            beyond(f"the type {word}")
        unsupported(f"the type {word} (column {column.name})" + " without a length" * (word.upper() == "TEXT"))
    column.type = _SPELLINGS[spelling]
    column.server_type = "bytea" if column.type == "VARBYTE" else column.type
    size = [number.take().key for number in part.take_parentheses()] if part.sees("(") else []
    if part.sees_any("[", "ARRAY"):
        unsupported(f"an array (column {column.name})")
    if column.type in _LONGEST:
        column.length = _length(column, size)
        if column.type != "VARBYTE":
            column.server_type += f"({column.length})"
    elif size:
        column.server_type += f"({', '.join(size)})"


def _length(column: Column, size: list[str]) -> int:
    longest = _LONGEST[column.type]
    if not size:
        raise SqlError(
            "0A000",
            f"column {column.name}: {column.type} without a length becomes a short one in Amazon Redshift,"
            " so its stand-in wants a length",
        )
    length = longest if size[0] == "MAX" else int(size[0]) if size[0].isdigit() else 0
    if not 1 <= length <= longest:
        raise SqlError("42601", f"column {column.name}: {column.type} has 1 to {longest} bytes, not {size[0]}")
    return length


def _take_column_option(part: Statement, column: Column) -> None:
    if part.skips("DEFAULT"):
        column.default = part.take_until(*_COLUMN_OPTIONS)
    elif part.skips("ENCODE"):
        _check_encoding(part.take().key, column)
    elif part.skips("NOT", "NULL") or part.skips("PRIMARY", "KEY"):
        column.options.add("NOT NULL")
    elif part.sees_any("SORTKEY", "DISTKEY"):
        column.options.add(part.take().key)
    elif part.skips("REFERENCES"):
        part.take_name()
        if part.sees("("):
            part.take_parentheses()
    elif part.skips_any("NULL", "UNIQUE"):
        pass
    elif part.sees("CHECK"):
        unsupported("a constraint CHECK")
    elif part.sees_any("GENERATED", "IDENTITY", "COLLATE"):
        beyond(f"{part.take().key} of a column")
    else:
        part.unreadable()


def _check_encoding(encoding: str, column: Column) -> None:
    if encoding not in _ENCODINGS:
        raise SqlError("42601", f"column {column.name}: no encoding {encoding}; there are {', '.join(_ENCODINGS)}")
    if column.type not in _ENCODINGS[encoding]:
        raise SqlError("0A000", f"column {column.name}: encoding {encoding} is not for {column.type} (stand-in)")


_MEANINGLESS = (("SORTKEY", "AUTO"), ("ENCODE", "AUTO"), ("BACKUP", "YES"), ("BACKUP", "NO"))
_SORTKEYS = (("SORTKEY",), ("COMPOUND", "SORTKEY"), ("INTERLEAVED", "SORTKEY"))


def _table_options(statement: Statement) -> list[str]:
    """The names of the keys; what is said of them has no meaning for PostgreSQL."""
    style, distkeys, sortkeys = "", [], []
    while not (statement.is_over or statement.sees("AS")):
        if statement.skips("DISTSTYLE"):
            style = statement.take().key
            if style not in ("AUTO", "EVEN", "KEY", "ALL"):
                unsupported(f"DISTSTYLE {style}")
        elif statement.skips("DISTKEY"):
            distkeys += [name.take().name for name in statement.take_parentheses()]
        elif any(statement.skips(*words) for words in _MEANINGLESS):
            pass
        elif any(statement.skips(*words) for words in _SORTKEYS):
            sortkeys += [name.take().name for name in statement.take_parentheses()]
        else:
            unsupported(f"{statement.rest().split('(')[0]} of a table")
    if len(distkeys) > 1 or (distkeys and style not in ("", "KEY")) or (style == "KEY" and not distkeys):
        raise SqlError(
            "42601", f"DISTSTYLE {style or 'AUTO'} with {len(distkeys)} columns as DISTKEY (said by the stand-in)"
        )
    return distkeys + sortkeys


def _alter_table(statement: Statement, table: str) -> str | Translated:
    begin = f"ALTER TABLE {table}"
    start = statement.at
    statement.take_until(",")
    if not statement.is_over:
        unsupported("ALTER TABLE with several actions")
    statement.at = start
    if statement.skips("ADD"):
        return f"{begin} ADD COLUMN {_added_column(statement).sql()}"
    if statement.skips("ALTER", "COLUMN") or statement.skips("ALTER"):
        return _alter_column(statement, begin)
    if statement.sees("APPEND"):
        beyond("ALTER TABLE … APPEND")
    if statement.sees("DROP", "CONSTRAINT"):
        beyond("ALTER TABLE … DROP CONSTRAINT")
    if statement.skips("DROP"):
        statement.skips("COLUMN")
        if statement.sees("IF", "EXISTS"):
            unsupported("DROP COLUMN IF EXISTS")
        return f"{begin} DROP COLUMN {statement.rest()}"
    if any(statement.sees(*words) for words in (("RENAME", "TO"), ("RENAME", "COLUMN"), ("OWNER", "TO"))):
        return f"{begin} {statement.rest()}"
    unsupported(f"{begin} {statement.rest()}")


def _added_column(statement: Statement) -> Column:
    statement.skips("COLUMN")
    if statement.sees("IF", "NOT"):
        unsupported("ADD COLUMN IF NOT EXISTS")
    if any(statement.sees(*words) for words in _CONSTRAINTS):
        beyond("ALTER TABLE … ADD of a constraint")
    column = _column(statement)
    if "NOT NULL" in column.options and column.default in (None, "NULL"):
        unsupported("ALTER TABLE … ADD COLUMN … NOT NULL without a default")
    if column.options & {"SORTKEY", "DISTKEY"}:
        unsupported("ALTER TABLE … ADD COLUMN with a key")
    return column


def _alter_column(statement: Statement, begin: str) -> Translated:
    name = statement.take()
    column = Column(name.name, name.text)
    if (
        statement.sees("ENCODE")
        or statement.sees("SORTKEY")
        or name.key in ("DISTSTYLE", "DISTKEY", "SORTKEY", "ENCODE")
    ):
        beyond("a change of keys or encodings")
    if not statement.skips("TYPE"):
        unsupported(f"ALTER COLUMN … {statement.rest()}")
    _take_type(statement, column)
    statement.must_be_over()
    if column.type != "VARCHAR":
        unsupported(f"a change of the type of a column to {column.type}")
    check = f"DROP CONSTRAINT IF EXISTS {column.check_name()}"
    change = f"ALTER COLUMN {column.quoted} TYPE {column.server_type}"
    return Translated(f"{begin} {check}, {change}, ADD{column.check()}", is_alone=True)


# ---------------------------------------------------------------- everything else


def _create(statement: Statement) -> str:
    statement.must("CREATE")
    if statement.skips("OR", "REPLACE", "VIEW"):
        return _create_view(statement, "CREATE OR REPLACE VIEW")
    if statement.skips("VIEW"):
        return _create_view(statement, "CREATE VIEW")
    statement.skips("LOCAL")
    if statement.skips("TEMP", "TABLE") or statement.skips("TEMPORARY", "TABLE"):
        return _create_table(statement, "CREATE TEMP TABLE")
    if statement.skips("TABLE"):
        return _create_table(statement, "CREATE TABLE")
    if statement.skips("SCHEMA"):
        return statement.whole()
    if statement.skips("ROLE"):
        name = statement.take_name()
        if not statement.is_over:
            unsupported(f"CREATE ROLE … {statement.rest()}")
        return f"CREATE ROLE {name}"
    if statement.skips("USER"):
        return _create_user(statement)
    if statement.skips("GROUP"):
        return statement.whole()
    if statement.sees_any("EXTERNAL", "MATERIALIZED", "PROCEDURE", "FUNCTION", "DATABASE"):
        beyond(f"CREATE {statement.take().key}")
    unsupported(f"CREATE {statement.rest().split('(')[0]}")


def _create_user(statement: Statement) -> str:
    name = statement.take_name()
    statement.skips("WITH")
    statement.must("PASSWORD")
    password = "" if statement.skips("DISABLE") else f" PASSWORD {statement.take().text}"
    return f"CREATE USER {name}{password} {statement.rest()}"


def _create_view(statement: Statement, begin: str) -> str:
    name = statement.take_name()
    columns = statement.take_until("AS")
    statement.must("AS")
    binding = ("WITH", "NO", "SCHEMA", "BINDING")
    is_late = tuple(token.key for token in statement.tokens[-4:]) == binding
    end = len(statement.tokens) - 4 * is_late
    tree = _check_query(statement.text(statement.at, end))
    if is_late:
        known = {cte.alias for cte in tree.find_all(exp.CTE)}
        bare = {table.name for table in tree.find_all(exp.Table) if table.name and not table.db} - known
        if bare:
            raise SqlError("0A000", f"a view WITH NO SCHEMA BINDING needs schemas, {sorted(bare)} have none (stand-in)")
    return f"{begin} {name} {columns} AS {statement.text(statement.at, end)}"


def _alter(statement: Statement) -> str | Translated:
    statement.must("ALTER")
    if statement.skips("TABLE"):
        return _alter_table(statement, statement.take_name())
    if statement.sees("DEFAULT", "PRIVILEGES"):
        return _grant(statement)
    if statement.sees_any("USER", "SCHEMA", "GROUP"):
        return statement.whole()
    unsupported(f"ALTER {statement.rest()}")


def _drop(statement: Statement) -> str:
    statement.must("DROP")
    if statement.skips("ROLE"):
        name = statement.take_name()
        if not (statement.skips_any("FORCE", "RESTRICT")):
            statement.must_be_over()
        return f"DROP ROLE {name}"
    if statement.sees_any("TABLE", "VIEW", "SCHEMA", "USER", "GROUP"):
        return statement.whole()
    unsupported(f"DROP {statement.rest()}")


def _grant(statement: Statement) -> str:
    """GRANT and REVOKE: PostgreSQL does not say that a role is one."""
    before = ("GRANT", "REVOKE", "TO", "FROM", ",")
    tokens = statement.tokens
    pieces, start = [], tokens[0].start
    for number, token in enumerate(tokens[1:], 1):
        if token.key == "ROLE" and tokens[number - 1].key in before and number + 1 < len(tokens):
            pieces.append(statement.sql[start : token.start])
            start = token.end
    return "".join(pieces) + statement.sql[start : tokens[-1].end]


SERVER_VERSION = "8.0.2"
_SETTINGS = _words("""
    application_name client_encoding client_min_messages datestyle extra_float_digits is_superuser search_path
    server_encoding server_version statement_timeout timezone""")
_REDSHIFT_SETTINGS = _words("""
    analyze_threshold_percent describe_field_name_in_uppercase downcase_delimited_identifier
    enable_case_sensitive_identifier enable_result_cache_for_session enable_vacuum_boost
    error_on_nondeterministic_update max_concurrency_scaling_clusters query_group wlm_query_slot_count""")


def _setting(statement: Statement) -> str:
    """SET, SHOW, RESET: settings that only Redshift has are kept under a name of their own."""
    begin = statement.take().key
    if statement.sees("SESSION", "AUTHORIZATION") or statement.sees("TIME", "ZONE"):
        return statement.whole()
    if begin == "SHOW" and statement.sees("TRANSACTION", "ISOLATION", "LEVEL"):
        return statement.whole()
    begin += f" {statement.take().key}" if statement.sees_any("LOCAL", "SESSION") else ""
    token = statement.take()
    if (begin, token.name) == ("SHOW", "server_version"):
        return f"SELECT '{SERVER_VERSION}'::varchar AS server_version"
    if token.name in _REDSHIFT_SETTINGS:
        return f"{begin} standin.{token.name} {statement.rest()}"
    if token.name in _SETTINGS or (token.key, begin) == ("ALL", "RESET"):
        return f"{begin} {token.name} {statement.rest()}"
    raise SqlError("42704", f'unrecognized configuration parameter "{token.name}" (said by the Redshift stand-in)')


def _begin(statement: Statement) -> str:
    """Every transaction has the isolation of its database, whatever it asks for."""
    statement.take()
    statement.skips_any("TRANSACTION", "WORK")
    if statement.skips("ISOLATION", "LEVEL"):
        statement.skips("READ")
        statement.take()
        statement.skips("READ")
        statement.skips(",")
    if not (statement.is_over or statement.sees("READ", "WRITE") or statement.sees("READ", "ONLY")):
        statement.unreadable()
    return f"BEGIN {statement.rest()}"


def _end(statement: Statement) -> str:
    if any(token.key in ("TO", "PREPARED", "CHAIN") for token in statement.tokens):
        unsupported(statement.whole())
    return statement.whole()


def _lock(statement: Statement) -> str:
    if any(token.key in ("IN", "NOWAIT", "ONLY") for token in statement.tokens):
        unsupported("LOCK with a mode")
    return statement.whole()


def _truncate(statement: Statement) -> Translated:
    statement.must("TRUNCATE")
    statement.skips("TABLE")
    table = statement.take_name()
    if not statement.is_over:
        unsupported(f"TRUNCATE … {statement.rest()}")
    return Translated(f"TRUNCATE TABLE {table}", commits=True)


_HANDLERS: dict[str, Callable[[Statement], str | Translated]] = {
    **dict.fromkeys(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "("), _query),
    **dict.fromkeys(("SET", "SHOW", "RESET"), _setting),
    **dict.fromkeys(("BEGIN", "START"), _begin),
    **dict.fromkeys(("COMMIT", "END", "ROLLBACK", "ABORT"), _end),
    **dict.fromkeys(("GRANT", "REVOKE"), _grant),
    **dict.fromkeys(("ANALYZE", "VACUUM", "COMMENT", "FETCH", "CLOSE"), Statement.whole),
    "EXPLAIN": _explain,
    "DECLARE": _cursor,
    "CREATE": _create,
    "ALTER": _alter,
    "DROP": _drop,
    "LOCK": _lock,
    "TRUNCATE": _truncate,
}
