"""Options that several commands have, with one name and one meaning everywhere."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.homes import Home, default_home

HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder for data, certificates, logs. Default: $NIGHTHERD_HOME, else /var/lib/nightherd "
    "for root, ~/.nightherd for others.",
)
LIMIT = click.option("--limit", type=click.IntRange(1, 250), default=50, show_default=True)
OFFSET = click.option("--offset", type=click.IntRange(0), default=0)
HOSTS = click.option("--host", "host", multiple=True, help="Name or id of a host.")
HERDS = click.option("--herd", "herd", multiple=True)
USERS = click.option("--user", "user", multiple=True, help="Login user, else effective user.")
SERVICES = click.option("--service", "service", multiple=True)
SEARCH = click.option("--search", default="", help="Text in the command line.")
SECONDS = click.option(
    "--seconds", type=click.IntRange(1, 86400), default=None, help="Before and after."
)

Command = Callable[..., None]


def home_of(home: Path | None) -> Home:
    """Return the home that was named, else the default one."""
    return Home((home or default_home()).absolute())


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds all of `options`, shown in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def moment(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check a time here, so that the complaint names the option that was typed."""
    try:
        if value:
            dt.datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a valid time; write it as 2026-11-24T15:04:05Z (a date alone is its "
            "midnight; UTC unless a zone is given)"
        ) from None
    return value


# REST says `from` and `to`, as the console's contract does.
SPAN = with_options(
    click.option(
        "--since",
        "from",
        callback=moment,
        default="",
        help="Not before; e.g. 2026-11-24T15:04:05Z, no zone: UTC.",
    ),
    click.option("--until", "to", callback=moment, default="", help="Not after."),
)
OUTPUT = with_options(
    click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "csv"]),
        default="table",
        show_default=True,
    ),
    click.option("--wide", is_flag=True, help="Tables: cut no cell, on a terminal either."),
)
EVENTS = with_options(
    HOSTS,
    HERDS,
    SPAN,
    click.option("--kind", "kind", multiple=True, help="E.g. exec, file_change."),
    USERS,
    click.option("--effective-user", "effectiveUser", multiple=True),
    SERVICES,
    click.option("--session", "sessionID", type=click.IntRange(0), multiple=True),
    click.option("--path", "path", multiple=True, help="A path that was changed, read, hashed, …"),
    click.option("--path-prefix", "pathPrefix", multiple=True),
    click.option("--executable", "processPath", multiple=True),
    click.option("--exec-id", "execID", multiple=True, help="What tables and rows call execID."),
    click.option("--sha256", "sha256", multiple=True, help="Of a file that was run or changed."),
    click.option(
        "--trait", "trait", multiple=True, help="E.g. memoryFile, deletedFile, ldPreload."
    ),
    click.option("--remote-address", "remoteAddress", multiple=True),
    click.option("--born-from-user", "bornFromUser", multiple=True, help="Who had it started."),
    SEARCH,
)
"""Which events; what can be given several times is a choice among its values."""


def shown(query: dict[str, Any]) -> tuple[str, bool]:
    """Take what OUTPUT added out of `query`; return (form, wide)."""
    return query.pop("output"), query.pop("wide")
