"""`nightherd backup …`."""

import sys
from pathlib import Path

import click

from cli.commands.options import HOME, home_of

FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def backup() -> None:
    """Back up the databases, restore them, check a backup (docs/how-to/back-up.md)."""


@backup.command("create")
@HOME
@FOLDER
@click.option("--with-keys", is_flag=True, help="Also the authority and the first password.")
def create(home: Path | None, folder: Path, with_keys: bool) -> None:  # noqa: FBT001
    """Write a backup to FOLDER, which must not exist; everything may run meanwhile."""
    from cli.backup.commands import run_create

    sys.exit(run_create(home_of(home), folder.absolute(), with_keys=with_keys))


@backup.command("restore")
@HOME
@FOLDER
@click.option("--with-keys", is_flag=True, help="Also the keys that are in it.")
def restore(home: Path | None, folder: Path, with_keys: bool) -> None:  # noqa: FBT001
    """Restore FOLDER into an empty MongoDB, with Nightherd stopped."""
    from cli.backup.commands import run_restore

    sys.exit(run_restore(home_of(home), folder.absolute(), with_keys=with_keys))


@backup.command("verify")
@FOLDER
def verify(folder: Path) -> None:
    """Check FOLDER without asking anybody: its files, and the chains in them. Status 1: broken."""
    from cli.backup.commands import run_verify

    sys.exit(run_verify(folder.absolute()))
