"""The command `charging-assets`: options, progress, printing and exit codes around what the domain packages do.

One file per group of commands. Each imports what it needs when it runs: `charging-assets --help` answers at once.
Exit codes: 0 done, 1 not (fully) done, 2 wrong usage or a wrong setting.
"""

from typing import Any

import click

from charging_assets import __version__
from charging_assets.cli import (
    compact,
    demo,
    doctor,
    environment,
    explain,
    imports,
    publishing,
    report,
    runs,
    simulate,
    sql,
)
from charging_assets.settings import SettingsError


class _Group(click.Group):
    """Says in a sentence what a person can put right; anything else keeps its stack trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            wrong = click.ClickException(str(error))
            wrong.exit_code = 2
            raise wrong from error
        except Exception as error:
            from charging_assets.lake import LakeError
            from charging_assets.reports.poi_exports import ExportError
            from charging_assets.sources.osm.errors import OsmError
            from charging_assets.warehouse import WarehouseError

            if isinstance(error, LakeError | WarehouseError | OsmError | ExportError):
                raise click.ClickException(str(error)) from error
            raise


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="charging_assets %(version)s")
def main() -> None:
    """How busy are Germany's public EV charging points, and how sure are we?

    Settings come from environment variables (CHARGING_ASSETS_HOME, CHARGING_ASSETS_LAKE, …); `charging-assets
    doctor` shows them all, and what is wrong.
    """


for _command in (
    *(demo.demo, doctor.doctor, runs.poll, runs.build, sql.sql, sql.export),
    *(report.report, explain.explain, publishing.migrate, publishing.publish),
    *(imports.import_raw, compact.compact, simulate.simulate, environment.dagster_home),
):
    main.add_command(_command)
