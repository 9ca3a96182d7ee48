"""What brings hosts in, and takes their evidence away."""

import sys
from pathlib import Path
from typing import Any

import click

from cli.commands.options import HOME, SPAN, home_of


@click.command()
@HOME
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--herd", default="default", show_default=True, help="Herd of the imported host.")
@click.option("--host-id", default="", help="Id of the imported host; default: follows from files.")
@click.option("--rate", type=click.FloatRange(0), default=0, help="Events a second; 0: no limit.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["batches", "auditd"]),
    default="batches",
    show_default=True,
    help="What FILES are: spool segments, or logs of auditd (plain or .gz, in any order).",
)
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=10,
    show_default=True,
    help="Seconds to wait for services that do not answer.",
)
def replay(home: Path | None, files: tuple[Path, ...], **how: Any) -> None:
    """Ship recorded batches, or an audit log, as a host of their own.

    Events keep the time they bear. A replay that was stopped goes on when it is started again;
    one that is finished does nothing. Status 1: some of it was rejected, which is said. 2: no such
    file, or a host that is there in another herd. 4: the services do not take it.
    """
    from cli.replay import Replay, run_replay

    sys.exit(run_replay(home_of(home), files, Replay(**how)))


@click.command("enrol-token")
@HOME
@click.option("--herd", default="default", show_default=True, help="Herd of the new host.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), default=24, show_default=True)
def enrol_token(home: Path | None, herd: str, hours: float) -> None:
    """Print a token that enrols one host, once; and the authority's fingerprint."""
    from cli.enrol import print_token

    sys.exit(print_token(home_of(home), herd, hours))


@click.command()
@HOME
@click.option("--host", default="", help="Of one host: its id or name.")
@click.option("--herd", default="", help="Of every host of a herd.")
@click.option("--watch", multiple=True, metavar="PATH", help="Watch this too (may be repeated).")
@click.option(
    "--level",
    type=click.Choice(["own", "full", "audit", "poll"]),
    default="own",
    show_default=True,
    help="Work at this level, or at the agent's own setting.",
)
def direct(home: Path | None, host: str, herd: str, watch: tuple[str, ...], level: str) -> None:
    """Ask agents to watch further paths or to work at a lower level; without options: what is.

    What is given is the whole of what is asked, in place of what was asked of the same host or
    herd before; neither --watch nor --level asks nothing any more. Status 4: it was refused.
    """
    from cli.direct import ask, show_asked

    if not host and not herd:
        if watch or level != "own":
            raise click.UsageError("name a host (--host) or a herd (--herd)")
        sys.exit(show_asked(home_of(home)))
    if host and herd:
        raise click.UsageError("--host or --herd, not both")
    wanted = {"host": host, "herd": herd, "watchPaths": list(watch), "level": level}
    sys.exit(ask(home_of(home), wanted))


@click.command()
@HOME
@click.option("--host", required=True, help="Its id or name.")
@SPAN
@click.option("--authority", default="", help="Who decided, e.g. a name and an office.")
@click.option("--reason", default="", help="Why.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(home: Path | None, dry_run: bool, yes: bool, **wanted: str) -> None:  # noqa: FBT001
    """Remove evidence of a host by authority; headers, a mark and a gap stay.

    Says what would go and asks first. Status 1: it was not wanted. 2: nobody could be asked.
    """
    from cli.erase import run_erase

    missing = [name for name in ("authority", "reason") if not wanted[name].strip()]
    if missing and not dry_run:
        raise click.UsageError(f"--{missing[0]} is needed, except with --dry-run")
    sys.exit(run_erase(home_of(home), wanted, dry_run=dry_run, yes=yes))
