"""What concerns this machine: run everything, look whether it can, and whether it does."""

import sys
from pathlib import Path

import click

from cli.commands.options import HOME, home_of

NUMBER = click.IntRange(1, 65535)
PORT = click.option("--port", type=NUMBER, default=8083, show_default=True, help="Of the API.")


@click.command()
@HOME
@PORT
@click.option("--herd", default="default", show_default=True, help="Herd of this host.")
@click.option("--no-agent", is_flag=True, help="Do not watch this host.")
@click.option(
    "--all-addresses",
    is_flag=True,
    help="Receive agents of other machines, too: store, detector, modeler and enrolment listen on "
    "every address (the API does not).",
)
def up(
    home: Path | None,
    port: int,
    herd: str,
    no_agent: bool,  # noqa: FBT001
    all_addresses: bool,  # noqa: FBT001
) -> None:
    """Run everything on this machine until Ctrl-C."""
    import asyncio

    from chassis import logs
    from cli.enrol import EnrolError
    from cli.errors import UpError
    from cli.homes import lock
    from cli.up import Options, Up

    logs.configure("up")
    place = home_of(home)
    try:
        held = lock(place)
        options = Options(place, port, herd, not no_agent, all_addresses)
        (place.state / "port").write_text(str(port), encoding="ascii")
        (place.state / "listen").write_text(options.listen, encoding="ascii")
        asyncio.run(Up(options).run())
    except (UpError, EnrolError, OSError) as error:
        print(f"nightherd: {error}", file=sys.stderr)
        sys.exit(1)
    del held


@click.command()
@HOME
@click.option("--port", type=NUMBER, help="Of the API.  [default: that of the last start]")
def doctor(home: Path | None, port: int | None) -> None:
    """Say whether this machine has what is needed, and what to do where not."""
    from cli.doctor import report

    sys.exit(report(home_of(home), port))


@click.command()
@HOME
def status(home: Path | None) -> None:
    """Say what runs on this machine."""
    from cli.verify import print_status

    sys.exit(print_status(home_of(home)))


@click.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(version("nightherd"))
    except PackageNotFoundError:
        print("0.1.0+checkout")
