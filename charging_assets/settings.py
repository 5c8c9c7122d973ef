"""Every environment variable of the project, in one place, checked with a sentence for whoever set it wrong."""

import datetime as dt
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from charging_assets.calendar import BERLIN

FEED_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a feed may be called: it becomes part of a URL and of file names."""

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


class SettingsError(ValueError):
    """A setting has a wrong value; the message names the variable, the value and the expected form."""


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
        return cls(
            home=home,
            lake=_lake(get("CHARGING_ASSETS_LAKE", str(home / "lake"))),
            dagster_home=Path(get("DAGSTER_HOME", str(home / "dagster"))).expanduser().absolute(),
            source=_source(get("CHARGING_ASSETS_SOURCE", "chargecloud")),
            chargecloud_url=_url(
                "CHARGING_ASSETS_CHARGECLOUD_URL",
                get("CHARGING_ASSETS_CHARGECLOUD_URL", "https://new-poi.chargecloud.de"),
            ),
            feeds=_feeds(get("CHARGING_ASSETS_FEEDS", ",".join(DEFAULT_FEEDS))),
            interval_s=_interval(get("CHARGING_ASSETS_INTERVAL_S", "600")),
            first_date=_first_date(get("CHARGING_ASSETS_FIRST_DATE", "2018-01-01")),
            contact=_contact(get("CHARGING_ASSETS_CONTACT", "")),
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


def _feeds(text: str) -> tuple[str, ...]:
    try:
        names = [check_feed(name.strip()) for name in text.split(",") if name.strip()]
    except ValueError as error:
        raise SettingsError(f"CHARGING_ASSETS_FEEDS: {error}; names are separated by commas") from None
    if not names:
        raise SettingsError(f"CHARGING_ASSETS_FEEDS={text!r}: expected at least one feed, e.g. koeln,bonn")
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
