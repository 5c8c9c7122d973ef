"""Every environment variable of the project, in one place, checked with a sentence for whoever set it wrong."""

import datetime as dt
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from charging_assets.calendar import BERLIN

FEED_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a feed may be called: it becomes part of a URL and of file names."""

_ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")

DEFAULT_FEEDS = (
    *(
        "ansbach",
        "bayreuth",
        "bocholt",
        "bonn",
        "bretten",
        "bruchsal",
        "buehl",
        "calw",
        "chemnitz",
        "crailsheim",
    ),
    *("deggendorf", "dormagen", "dortmund", "erlangen", "ettlingen", "forchheim", "goettingen", "heidelberg"),
    *(
        "herzogenaurach",
        "hof",
        "ingolstadt",
        "kiel",
        "kitzingen",
        "koeln",
        "krefeld",
        "leverkusen",
        "lichtenfels",
    ),
    *(
        "muenster",
        "nettetal",
        "pforzheim",
        "rastatt",
        "roth",
        "schwabach",
        "solingen",
        "tuebingen",
        "weinheim",
    ),
    *("wertheim", "zirndorf"),
    "SW-Stuttgart",
)


WAREHOUSES = ("duckdb", "postgres", "redshift")
POI_SOURCES = ("overpass", "pbf")
_SSL_MODES = ("verify-full", "verify-ca", "require", "prefer", "allow", "disable")
_ROLE = re.compile(r"arn:aws(-cn|-us-gov)?:iam::\d{12}:role(/[\w+=,.@-]+)+", re.ASCII)


class SettingsError(ValueError):
    """A setting has a wrong value; the message names the variable, the value and the expected form."""


@dataclass(frozen=True)
class RedshiftSettings:
    """How a Redshift cluster or workgroup is reached (`CHARGING_ASSETS_REDSHIFT_…`)."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(repr=False)
    """None: short-lived credentials are asked of IAM for each connection."""
    iam_role: str
    """ARN of the role by which Redshift reads the lake."""
    sslmode: str
    sslrootcert: str | None
    """File of certificates to trust; None: Amazon's."""


@dataclass(frozen=True)
class Settings:
    """The settings of one process. Paths are absolute; URLs have no trailing slash."""

    home: Path
    """State of this installation (`CHARGING_ASSETS_HOME`)."""
    lake: str
    """Absolute path or `s3://bucket/prefix` (`CHARGING_ASSETS_LAKE`)."""
    dagster_home: Path
    """Where Dagster keeps runs and events (`DAGSTER_HOME`)."""
    source: str
    """Who answers at `chargecloud_url`: `chargecloud` or `simulator` (`CHARGING_ASSETS_SOURCE`)."""
    chargecloud_url: str
    feeds: tuple[str, ...]
    interval_s: int
    """Seconds between two polls; divides an hour."""
    first_date: dt.date
    """First partition of the dated assets."""
    contact: str | None
    """Put into the User-Agent, so that whoever runs the API can reach whoever polls it (`CHARGING_ASSETS_CONTACT`)."""
    active_days: int
    """A station is active that was seen on one of the last so many days on which its feed was."""
    keep_logs_days: int
    """Days for which logs of finished runs are kept; events of assets stay for ever."""
    alert_email: tuple[str, ...]
    """Who gets a mail when a run or a check fails; empty: nobody."""
    alert_webhook: str | None = field(repr=False)
    """Where a JSON text is posted when a run or a check fails. Who knows it may post: keep it out of logs."""
    smtp_url: str | None = field(repr=False)
    """Mail server, `smtp(s)://[user:password@]host[:port]`. Keep it out of logs."""
    ui_url: str | None
    """Where people reach the Dagster UI; messages link to it (`CHARGING_ASSETS_UI_URL`)."""
    warehouse: str
    """Where tables are published: `duckdb` (the lake itself), `postgres` or `redshift`."""
    publish_hourly: bool
    """Whether publishing is scheduled hourly instead of daily (`CHARGING_ASSETS_PUBLISH`)."""
    postgres_dsn: str | None = field(repr=False)
    """libpq connection string or URI; may hold a password. Keep it out of logs."""
    redshift: RedshiftSettings | None
    """Set when `warehouse` is `redshift`."""
    poi_source: str
    """Where points of interest are from: `overpass`, or `pbf`, an extract (`CHARGING_ASSETS_POI_SOURCE`)."""
    osm_pbf: str | None
    """Path or URL of the extract."""
    overpass_url: str
    nominatim_url: str
    poi_categories: str
    """Categories, their tags and radii: `default`, `original`, or a TOML file (`CHARGING_ASSETS_POI_CATEGORIES`)."""
    poi_radius_m: float | None
    """One radius for all categories, instead of those in the file (`CHARGING_ASSETS_POI_RADIUS_M`)."""
    poi_cities: tuple[str, ...]
    """Cities that Overpass is asked for, by their slugs; default: those of the feeds (`CHARGING_ASSETS_POI_CITIES`)."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; unset and blank variables mean their default.

        Raises:
            SettingsError: a variable has a value of the wrong form.
        """
        source = os.environ if env is None else env

        def get(name: str, default: str) -> str:
            return source.get(name, "").strip() or default

        home = Path(get("CHARGING_ASSETS_HOME", ".charging_assets")).expanduser().absolute()
        smtp_url = _smtp_url(get("CHARGING_ASSETS_SMTP_URL", ""))
        lake = _lake(get("CHARGING_ASSETS_LAKE", str(home / "lake")))
        warehouse = _one_of("CHARGING_ASSETS_WAREHOUSE", get("CHARGING_ASSETS_WAREHOUSE", "duckdb"), WAREHOUSES)
        feeds = _feeds("CHARGING_ASSETS_FEEDS", get("CHARGING_ASSETS_FEEDS", ",".join(DEFAULT_FEEDS)))
        poi_source = _one_of("CHARGING_ASSETS_POI_SOURCE", get("CHARGING_ASSETS_POI_SOURCE", "overpass"), POI_SOURCES)
        return cls(
            home=home,
            lake=lake,
            dagster_home=Path(get("DAGSTER_HOME", str(home / "dagster"))).expanduser().absolute(),
            source=_source(get("CHARGING_ASSETS_SOURCE", "chargecloud")),
            chargecloud_url=_url(
                "CHARGING_ASSETS_CHARGECLOUD_URL",
                get("CHARGING_ASSETS_CHARGECLOUD_URL", "https://new-poi.chargecloud.de"),
            ),
            feeds=feeds,
            interval_s=_interval(get("CHARGING_ASSETS_INTERVAL_S", "600")),
            first_date=_first_date(get("CHARGING_ASSETS_FIRST_DATE", "2018-01-01")),
            contact=_contact(get("CHARGING_ASSETS_CONTACT", "")),
            active_days=_days("CHARGING_ASSETS_ACTIVE_DAYS", get("CHARGING_ASSETS_ACTIVE_DAYS", "2"), most=365),
            keep_logs_days=_days(
                "CHARGING_ASSETS_KEEP_LOGS_DAYS", get("CHARGING_ASSETS_KEEP_LOGS_DAYS", "14"), most=3650
            ),
            alert_email=_alert_email(get("CHARGING_ASSETS_ALERT_EMAIL", ""), smtp_url),
            alert_webhook=_alert_webhook(get("CHARGING_ASSETS_ALERT_WEBHOOK", "")),
            smtp_url=smtp_url,
            ui_url=_optional_url("CHARGING_ASSETS_UI_URL", get("CHARGING_ASSETS_UI_URL", "")),
            warehouse=warehouse,
            publish_hourly=_one_of(
                "CHARGING_ASSETS_PUBLISH", get("CHARGING_ASSETS_PUBLISH", "daily"), ("daily", "hourly")
            )
            == "hourly",
            postgres_dsn=_postgres_dsn(get("CHARGING_ASSETS_POSTGRES_DSN", ""), warehouse),
            redshift=_redshift(get, lake) if warehouse == "redshift" else None,
            poi_source=poi_source,
            osm_pbf=_osm_pbf(get("CHARGING_ASSETS_OSM_PBF", ""), poi_source),
            overpass_url=_url(
                "CHARGING_ASSETS_OVERPASS_URL",
                get("CHARGING_ASSETS_OVERPASS_URL", "https://overpass-api.de/api"),
            ),
            nominatim_url=_url(
                "CHARGING_ASSETS_NOMINATIM_URL",
                get("CHARGING_ASSETS_NOMINATIM_URL", "https://nominatim.openstreetmap.org"),
            ),
            poi_categories=get("CHARGING_ASSETS_POI_CATEGORIES", "default"),
            poi_radius_m=_radius(get("CHARGING_ASSETS_POI_RADIUS_M", "")),
            poi_cities=_feeds("CHARGING_ASSETS_POI_CITIES", get("CHARGING_ASSETS_POI_CITIES", ",".join(feeds))),
        )


def check_feed(name: str) -> str:
    """Return `name` if it may be a feed's name.

    Raises:
        ValueError: it may not; the message says which form is expected.
    """
    if not FEED_PATTERN.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a feed's name: expected 1 to 64 letters, digits, '-' or '_' "
            "(e.g. 'koeln', 'SW-Stuttgart')"
        )
    return name


def without_secrets(url: str) -> str:
    """A URL as people may see it: scheme, host and port; whatever else it has may be, or hold, a password."""
    parts = urlsplit(url)
    is_more = parts.path.strip("/") or parts.query
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{'/…' if is_more else ''}"


def _lake(text: str) -> str:
    if "://" not in text:
        return str(Path(text).expanduser().absolute())
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc:
        raise SettingsError(
            f"CHARGING_ASSETS_LAKE={text!r}: expected a folder (e.g. /srv/charging/lake) or s3://bucket/prefix"
        )
    return f"s3://{text[len('s3://') :]}".rstrip("/")  # a scheme may be written in capitals


def _source(text: str) -> str:
    if text in ("chargecloud", "simulator"):
        return text
    raise SettingsError(
        f"CHARGING_ASSETS_SOURCE={text!r}: expected chargecloud, or simulator where CHARGING_ASSETS_CHARGECLOUD_URL is "
        "that of `charging-assets simulate serve`"
    )


def _url(name: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        shown = text.rpartition("@")[2]  # a password may stand before it
        raise SettingsError(f"{name}={shown!r}: expected http(s)://host[:port][/path]")
    return text.rstrip("/")


def _feeds(variable: str, text: str) -> tuple[str, ...]:
    try:
        names = [check_feed(name.strip()) for name in text.split(",") if name.strip()]
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}; names are separated by commas") from None
    if not names:
        raise SettingsError(f"{variable}={text!r}: expected at least one feed, e.g. koeln,bonn")
    return tuple(dict.fromkeys(names))


def _interval(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 10 <= int(text) <= 3600 or 3600 % int(text):
        raise SettingsError(
            f"CHARGING_ASSETS_INTERVAL_S={text!r}: expected whole seconds from 10 to 3600 that divide an hour, "
            "e.g. 600 for every ten minutes"
        )
    return int(text)


def _first_date(text: str) -> dt.date:
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or date > dt.datetime.now(BERLIN).date():
        raise SettingsError(f"CHARGING_ASSETS_FIRST_DATE={text!r}: expected a past date as YYYY-MM-DD, e.g. 2018-01-01")
    return date


def _contact(text: str) -> str | None:
    if not text.isprintable() or not text.isascii() or len(text) > 200:
        raise SettingsError(
            f"CHARGING_ASSETS_CONTACT={text!r}: expected an e-mail address or URL of at most 200 ASCII characters"
        )
    return text or None


def _days(name: str, text: str, *, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise SettingsError(f"{name}={text!r}: expected whole days from 1 to {most}")
    return int(text)


def _alert_email(text: str, smtp_url: str | None) -> tuple[str, ...]:
    addresses = tuple(dict.fromkeys(address.strip() for address in text.split(",") if address.strip()))
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            raise SettingsError(
                f"CHARGING_ASSETS_ALERT_EMAIL={text!r}: expected e-mail addresses, separated by commas, e.g. "
                "ops@example.org"
            )
    if addresses and smtp_url is None:
        raise SettingsError(
            f"CHARGING_ASSETS_ALERT_EMAIL={text!r} needs a mail server: expected CHARGING_ASSETS_SMTP_URL to be set, "
            "e.g. to smtp://user:password@mail.example.org:587"
        )
    return addresses


def _smtp_url(text: str) -> str | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in ("smtp", "smtps") and parts.hostname and (parts.port is None or parts.port > 0)
        is_right = is_right and parts.path in ("", "/") and not parts.query and not parts.fragment
        is_right = is_right and (parts.username is None) == (parts.password is None)
    except ValueError:  # a port that is none
        is_right = False
    if not is_right:  # the value holds a password and is not repeated
        raise SettingsError(
            "CHARGING_ASSETS_SMTP_URL (not shown, it may hold a password): expected smtp://host[:port], "
            "smtp://user:password@host[:port], or smtps:// where the server speaks TLS from the first byte; write "
            "special characters of user and password as %XX"
        )
    return text


def _alert_webhook(text: str) -> str | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        is_right = False
    if not is_right:  # the value is a secret and is not repeated
        raise SettingsError(
            "CHARGING_ASSETS_ALERT_WEBHOOK (not shown, it may hold a secret): expected http(s)://host[:port]/path"
        )
    return text


def _one_of(name: str, text: str, values: tuple[str, ...]) -> str:
    if text not in values:
        raise SettingsError(f"{name}={text!r}: expected {', '.join(values[:-1])} or {values[-1]}")
    return text


def _postgres_dsn(text: str, warehouse: str) -> str | None:
    if warehouse == "postgres" and not text:
        raise SettingsError(
            "CHARGING_ASSETS_WAREHOUSE=postgres needs a server: expected CHARGING_ASSETS_POSTGRES_DSN to be set, e.g. "
            "to postgresql://user:password@host:5432/database?sslmode=verify-full"
        )
    return text or None


def _osm_pbf(text: str, poi_source: str) -> str | None:
    if poi_source == "pbf" and not text:
        raise SettingsError(
            "CHARGING_ASSETS_POI_SOURCE=pbf needs an extract: expected CHARGING_ASSETS_OSM_PBF to be a path or URL of "
            "an .osm.pbf file"
        )
    if text and "://" in text:
        return _url("CHARGING_ASSETS_OSM_PBF", text)
    return str(Path(text).expanduser().absolute()) if text else None


def _radius(text: str) -> float | None:
    if not text:
        return None
    try:
        radius = float(text)
    except ValueError:
        radius = 0.0
    if not 0 < radius <= 1000:
        raise SettingsError(f"CHARGING_ASSETS_POI_RADIUS_M={text!r}: expected metres, more than 0 and at most 1000")
    return radius


def _redshift(get: Callable[[str, str], str], lake: str) -> RedshiftSettings:
    def of(name: str, default: str = "") -> str:
        return get(f"CHARGING_ASSETS_REDSHIFT_{name}", default)

    if not lake.startswith("s3://"):
        raise SettingsError(
            f"CHARGING_ASSETS_WAREHOUSE=redshift needs the lake on S3, since Redshift copies its files from there, but "
            f"CHARGING_ASSETS_LAKE is {lake}: expected s3://bucket/prefix, in the cluster's region"
        )
    for name, example in _REDSHIFT_EXAMPLES.items():
        if not of(name):
            raise SettingsError(
                f"CHARGING_ASSETS_WAREHOUSE=redshift needs CHARGING_ASSETS_REDSHIFT_{name}: expected e.g. {example}"
            )
    if not _ROLE.fullmatch(of("IAM_ROLE")):
        raise SettingsError(
            f"CHARGING_ASSETS_REDSHIFT_IAM_ROLE={of('IAM_ROLE')!r}: expected the ARN of a role that may read the lake, "
            f"e.g. {_REDSHIFT_EXAMPLES['IAM_ROLE']}; access keys are not taken, as statements end up in system tables"
        )
    port = of("PORT", "5439")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise SettingsError(f"CHARGING_ASSETS_REDSHIFT_PORT={port!r}: expected a port from 1 to 65535")
    return RedshiftSettings(
        host=of("HOST"),
        port=int(port),
        database=of("DATABASE"),
        user=of("USER"),
        password=of("PASSWORD") or None,
        iam_role=of("IAM_ROLE"),
        sslmode=_one_of("CHARGING_ASSETS_REDSHIFT_SSLMODE", of("SSLMODE", "verify-full"), _SSL_MODES),
        sslrootcert=of("SSLROOTCERT") or None,
    )


_REDSHIFT_EXAMPLES = {
    "HOST": "cluster.abc123.eu-central-1.redshift.amazonaws.com",
    "DATABASE": "dev",
    "USER": "loader",
    "IAM_ROLE": "arn:aws:iam::123456789012:role/charging-lake",
}


def _optional_url(name: str, text: str) -> str | None:
    return _url(name, text) if text else None
