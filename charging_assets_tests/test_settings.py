"""Settings come from the environment, and a wrong one is named with its expected form."""

import datetime as dt
from pathlib import Path

import pytest

from charging_assets.settings import Settings, SettingsError, check_feed, without_secrets


def test_everything_has_a_default() -> None:
    settings = Settings.from_env({})
    assert settings.home == Path(".charging_assets").absolute()
    assert settings.lake == str(settings.home / "lake")
    assert settings.dagster_home == settings.home / "dagster"
    assert settings.interval_s == 600
    assert settings.source == "chargecloud"
    assert settings.first_date == dt.date(2018, 1, 1)
    assert (settings.active_days, settings.keep_logs_days) == (2, 14)
    assert (settings.alert_email, settings.alert_webhook, settings.smtp_url, settings.ui_url) == ((), None, None, None)
    assert (settings.warehouse, settings.publish_hourly) == ("duckdb", False)
    assert (settings.postgres_dsn, settings.redshift) == (None, None)
    assert (settings.poi_source, settings.osm_pbf, settings.poi_cities) == ("overpass", None, settings.feeds)
    assert (settings.poi_categories, settings.poi_radius_m) == ("default", None)
    assert settings.overpass_url == "https://overpass-api.de/api"
    assert settings.nominatim_url == "https://nominatim.openstreetmap.org"
    assert len(settings.feeds) == 39
    assert "SW-Stuttgart" in settings.feeds


def test_blank_variables_mean_the_default() -> None:
    assert Settings.from_env({"CHARGING_ASSETS_INTERVAL_S": " "}).interval_s == 600


def test_values_are_taken_from_the_environment() -> None:
    settings = Settings.from_env(
        {
            "CHARGING_ASSETS_HOME": "/srv/charging",
            "CHARGING_ASSETS_LAKE": "s3://bucket/lake/",
            "CHARGING_ASSETS_SOURCE": "simulator",
            "CHARGING_ASSETS_CHARGECLOUD_URL": "http://localhost:8000/",
            "CHARGING_ASSETS_FEEDS": "koeln, bonn,koeln",
            "CHARGING_ASSETS_INTERVAL_S": "300",
            "CHARGING_ASSETS_CONTACT": "me@example.org",
            "CHARGING_ASSETS_ACTIVE_DAYS": "7",
            "CHARGING_ASSETS_KEEP_LOGS_DAYS": "365",
            "CHARGING_ASSETS_ALERT_EMAIL": "ops@example.org, dev@example.org,ops@example.org",
            "CHARGING_ASSETS_ALERT_WEBHOOK": "https://hooks.example.org/services/x",
            "CHARGING_ASSETS_SMTP_URL": "smtp://bot:secret@mail.example.org:587",
            "CHARGING_ASSETS_UI_URL": "http://dagster.example.org/",
            "CHARGING_ASSETS_POI_SOURCE": "pbf",
            "CHARGING_ASSETS_OSM_PBF": "https://download.example.org/germany-latest.osm.pbf",
            "CHARGING_ASSETS_POI_CITIES": "bonn, kiel,bonn",
            "CHARGING_ASSETS_POI_CATEGORIES": "original",
            "CHARGING_ASSETS_POI_RADIUS_M": "250.5",
            "CHARGING_ASSETS_OVERPASS_URL": "http://localhost:12345/api/",
            "CHARGING_ASSETS_NOMINATIM_URL": "http://localhost:8080/",
        }
    )
    assert settings.lake == "s3://bucket/lake"
    assert settings.dagster_home == Path("/srv/charging/dagster")
    assert (settings.source, settings.chargecloud_url) == ("simulator", "http://localhost:8000")
    assert settings.feeds == ("koeln", "bonn")
    assert (settings.interval_s, settings.contact) == (300, "me@example.org")
    assert (settings.active_days, settings.keep_logs_days) == (7, 365)
    assert settings.alert_email == ("ops@example.org", "dev@example.org")
    assert settings.alert_webhook == "https://hooks.example.org/services/x"
    assert settings.smtp_url == "smtp://bot:secret@mail.example.org:587"
    assert settings.ui_url == "http://dagster.example.org"
    assert (settings.poi_source, settings.osm_pbf) == ("pbf", "https://download.example.org/germany-latest.osm.pbf")
    assert (settings.poi_cities, settings.poi_categories, settings.poi_radius_m) == (
        ("bonn", "kiel"),
        "original",
        250.5,
    )
    assert (settings.overpass_url, settings.nominatim_url) == ("http://localhost:12345/api", "http://localhost:8080")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHARGING_ASSETS_INTERVAL_S", "7", "from 10 to 3600 that divide an hour"),
        ("CHARGING_ASSETS_INTERVAL_S", "700", "divide an hour"),
        ("CHARGING_ASSETS_INTERVAL_S", "ten", "whole seconds"),
        ("CHARGING_ASSETS_INTERVAL_S", "-600", "whole seconds"),
        ("CHARGING_ASSETS_FIRST_DATE", "01.01.2018", "YYYY-MM-DD"),
        ("CHARGING_ASSETS_FIRST_DATE", "2999-01-01", "past date"),
        ("CHARGING_ASSETS_FEEDS", "koeln,../etc", "letters, digits"),
        ("CHARGING_ASSETS_FEEDS", ",", "at least one feed"),
        ("CHARGING_ASSETS_SOURCE", "Simulator", "chargecloud, or simulator"),
        ("CHARGING_ASSETS_CHARGECLOUD_URL", "new-poi.chargecloud.de", "http(s)://host"),
        ("CHARGING_ASSETS_CHARGECLOUD_URL", "ftp://host", "http(s)://host"),
        ("CHARGING_ASSETS_LAKE", "gs://bucket", "s3://bucket/prefix"),
        ("CHARGING_ASSETS_LAKE", "s3://", "s3://bucket/prefix"),
        ("CHARGING_ASSETS_CONTACT", "a\nb", "e-mail address or URL"),
        ("CHARGING_ASSETS_ACTIVE_DAYS", "0", "whole days from 1 to 365"),
        ("CHARGING_ASSETS_ACTIVE_DAYS", "366", "whole days from 1 to 365"),
        ("CHARGING_ASSETS_KEEP_LOGS_DAYS", "never", "whole days from 1 to 3650"),
        ("CHARGING_ASSETS_ALERT_EMAIL", "ops", "e-mail addresses, separated by commas"),
        ("CHARGING_ASSETS_ALERT_EMAIL", "ops@example.org", "CHARGING_ASSETS_SMTP_URL to be set"),
        ("CHARGING_ASSETS_ALERT_WEBHOOK", "hooks.example.org", "http(s)://host"),
        ("CHARGING_ASSETS_ALERT_WEBHOOK", "http://[x", "http(s)://host"),
        ("CHARGING_ASSETS_SMTP_URL", "mail.example.org", "smtp://host"),
        ("CHARGING_ASSETS_SMTP_URL", "smtp://mail.example.org:99999", "smtp://host"),
        ("CHARGING_ASSETS_SMTP_URL", "smtp://bot@mail.example.org", "smtp://user:password@host"),
        ("CHARGING_ASSETS_UI_URL", "dagster.example.org", "http(s)://host"),
        ("CHARGING_ASSETS_POI_SOURCE", "osm", "expected overpass or pbf"),
        ("CHARGING_ASSETS_POI_SOURCE", "pbf", "CHARGING_ASSETS_OSM_PBF to be a path or URL"),
        ("CHARGING_ASSETS_OSM_PBF", "s3://bucket/x.osm.pbf", "http(s)://host"),
        ("CHARGING_ASSETS_POI_CITIES", "Köln", "letters, digits"),
        ("CHARGING_ASSETS_POI_CITIES", ",", "at least one"),
        ("CHARGING_ASSETS_POI_RADIUS_M", "0", "more than 0 and at most 1000"),
        ("CHARGING_ASSETS_POI_RADIUS_M", "1000.5", "more than 0 and at most 1000"),
        ("CHARGING_ASSETS_POI_RADIUS_M", "nan", "more than 0 and at most 1000"),
        ("CHARGING_ASSETS_POI_RADIUS_M", "30 m", "more than 0 and at most 1000"),
        ("CHARGING_ASSETS_OVERPASS_URL", "overpass-api.de", "http(s)://host"),
        ("CHARGING_ASSETS_NOMINATIM_URL", "ftp://host", "http(s)://host"),
    ],
)
def test_a_wrong_value_is_named_with_the_expected_form(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({name: value})
    assert name in str(error.value)
    assert expected in str(error.value)


def test_a_scheme_in_capitals_is_no_folder() -> None:
    assert Settings.from_env({"CHARGING_ASSETS_LAKE": "S3://Bucket/p"}).lake == "s3://Bucket/p"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARGING_ASSETS_CHARGECLOUD_URL", "ftp://me:hunter2@host/x"),
        ("CHARGING_ASSETS_SMTP_URL", "smtp://me:hunter2@host/path"),
        ("CHARGING_ASSETS_SMTP_URL", "me:hunter2@host"),
        ("CHARGING_ASSETS_ALERT_WEBHOOK", "ftp://hooks.example.org/services/hunter2"),
        ("CHARGING_ASSETS_OVERPASS_URL", "ftp://me:hunter2@host/api"),
        ("CHARGING_ASSETS_NOMINATIM_URL", "ftp://me:hunter2@host"),
        ("CHARGING_ASSETS_OSM_PBF", "ftp://me:hunter2@host/x.osm.pbf"),
    ],
)
def test_a_password_in_a_wrong_url_is_not_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({name: value})
    assert "hunter2" not in str(error.value)


def test_secrets_are_not_shown_with_the_settings() -> None:
    settings = Settings.from_env(
        {
            "CHARGING_ASSETS_SMTP_URL": "smtp://me:hunter2@host",
            "CHARGING_ASSETS_ALERT_WEBHOOK": "https://host/services/hunter2",
        }
    )
    assert "hunter2" not in repr(settings)


def test_an_extract_on_disk_is_found_from_everywhere() -> None:
    settings = Settings.from_env({"CHARGING_ASSETS_OSM_PBF": "~/maps/x.osm.pbf"})

    assert settings.osm_pbf == str(Path.home() / "maps/x.osm.pbf")
    assert settings.poi_source == "overpass"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("smtp://me:hunter2@host:587", "smtp://host:587"),
        ("https://hooks.example.org/services/hunter2", "https://hooks.example.org/…"),
        ("https://hooks.example.org?key=hunter2", "https://hooks.example.org/…"),
        ("https://new-poi.chargecloud.de", "https://new-poi.chargecloud.de"),
    ],
)
def test_a_url_can_be_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-a", "a" * 65, "köln", "a\n"])
def test_what_could_leave_the_url_is_no_feed_name(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a feed's name"):
        check_feed(name)


REDSHIFT = {
    "CHARGING_ASSETS_WAREHOUSE": "redshift",
    "CHARGING_ASSETS_LAKE": "s3://bucket/lake",
    "CHARGING_ASSETS_REDSHIFT_HOST": "cluster.abc123.eu-central-1.redshift.amazonaws.com",
    "CHARGING_ASSETS_REDSHIFT_DATABASE": "dev",
    "CHARGING_ASSETS_REDSHIFT_USER": "loader",
    "CHARGING_ASSETS_REDSHIFT_PASSWORD": "canary",
    "CHARGING_ASSETS_REDSHIFT_IAM_ROLE": "arn:aws:iam::123456789012:role/charging-lake",
}


def test_redshift_is_reached_by_tls_with_names_checked_unless_said_otherwise() -> None:
    redshift = Settings.from_env(REDSHIFT).redshift

    assert redshift is not None
    assert (redshift.port, redshift.sslmode, redshift.sslrootcert) == (5439, "verify-full", None)
    assert redshift.iam_role == "arn:aws:iam::123456789012:role/charging-lake"


def test_redshift_without_a_password_asks_iam_for_one() -> None:
    redshift = Settings.from_env({**REDSHIFT, "CHARGING_ASSETS_REDSHIFT_PASSWORD": ""}).redshift

    assert redshift is not None
    assert redshift.password is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LAKE", "/srv/lake", "CHARGING_ASSETS_LAKE is /srv/lake: expected s3://bucket/prefix"),
        ("REDSHIFT_HOST", "", "CHARGING_ASSETS_REDSHIFT_HOST: expected e.g. cluster."),
        ("REDSHIFT_IAM_ROLE", "AKIA:secret", "the ARN of a role"),
        ("REDSHIFT_PORT", "many", "a port from 1 to 65535"),
        ("REDSHIFT_SSLMODE", "no", "expected verify-full, verify-ca,"),
        ("WAREHOUSE", "oracle", "expected duckdb, postgres or redshift"),
        ("PUBLISH", "weekly", "expected daily or hourly"),
    ],
)
def test_a_wrong_setting_of_redshift_is_named_with_the_expected_form(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        Settings.from_env({**REDSHIFT, f"CHARGING_ASSETS_{name}": value})


def test_postgres_needs_to_be_told_where() -> None:
    with pytest.raises(SettingsError, match="CHARGING_ASSETS_POSTGRES_DSN to be set"):
        Settings.from_env({"CHARGING_ASSETS_WAREHOUSE": "postgres"})


def test_passwords_of_warehouses_are_not_shown_with_the_settings() -> None:
    postgres = {
        "CHARGING_ASSETS_WAREHOUSE": "postgres",
        "CHARGING_ASSETS_POSTGRES_DSN": "postgresql://u:canary@host/db",
    }

    assert "canary" not in repr(Settings.from_env(REDSHIFT))
    assert "canary" not in repr(Settings.from_env(postgres))
