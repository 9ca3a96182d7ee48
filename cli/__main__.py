"""`nightherd`: runs things on this machine and asks the gateway."""

import sys
from pathlib import Path
from typing import Any

import click

from cli.homes import Home, default_home

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder for data, certificates, logs. Default: $NIGHTHERD_HOME, else /var/lib/nightherd "
    "for root, ~/.nightherd for others.",
)
FORM = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
)
LIMIT = click.option("--limit", type=click.IntRange(1, 250), default=50, show_default=True)
OFFSET = click.option("--offset", type=click.IntRange(0), default=0)


def _home(home: Path | None) -> Home:
    return Home((home or default_home()).absolute())


@click.group(context_settings=CONTEXT)
def main() -> None:
    """Nightherd watches hosts, learns what their services do, and keeps the evidence."""


@main.command()
@HOME
@click.option("--port", type=click.IntRange(1, 65535), default=8083, show_default=True)
@click.option("--herd", default="default", show_default=True, help="Herd of this host.")
@click.option("--no-agent", is_flag=True, help="Do not watch this host.")
def up(home: Path | None, port: int, herd: str, no_agent: bool) -> None:  # noqa: FBT001
    """Run everything on this machine until Ctrl-C."""
    import asyncio

    from chassis import logs
    from cli.enrol import EnrolError
    from cli.errors import UpError
    from cli.homes import lock
    from cli.up import Options, Up

    logs.configure("up")
    place = _home(home)
    try:
        held = lock(place)
        (place.state / "port").write_text(str(port), encoding="ascii")
        asyncio.run(Up(Options(place, port, herd, not no_agent)).run())
    except (UpError, EnrolError, OSError) as error:
        print(f"nightherd: {error}", file=sys.stderr)
        sys.exit(1)
    del held


@main.command()
@HOME
@click.option("--port", type=click.IntRange(1, 65535), default=8083, show_default=True)
def doctor(home: Path | None, port: int) -> None:
    """Say whether this machine has what is needed, and what to do where not."""
    from cli.doctor import report

    sys.exit(report(_home(home), port))


@main.command()
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
def replay(
    home: Path | None, files: tuple[Path, ...], herd: str, host_id: str, rate: float, format_: str
) -> None:
    """Ship recorded batches, or an audit log, as a host of their own.

    Events keep the time they bear. A replay that was stopped goes on when it is started again;
    one that is finished does nothing. Status 1: some of it was rejected, which is said.
    """
    from cli.replay import run_replay

    sys.exit(run_replay(_home(home), files, herd, host_id, rate, format_))


@main.command()
@HOME
@click.argument("what", nargs=-1)
@click.option(
    "--spool",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Check a spool folder instead, without asking anybody.",
)
@click.option(
    "--proof",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Proof of an exported file. Default: FILE.proof.jsonl.",
)
@click.option("--key", "keys", multiple=True, help="Hex of a host's public key that is trusted.")
def verify(
    home: Path | None,
    what: tuple[str, ...],
    spool: Path | None,
    proof: Path | None,
    keys: tuple[str, ...],
) -> None:
    """Check exported FILES, without asking anybody; or the chains of HOSTS (default: all).

    Status 1: broken. 2: no export that can be read.
    """
    from cli.verify import verify_hosts, verify_spool

    if spool:
        sys.exit(verify_spool(spool))
    files = [Path(name) for name in what if Path(name).is_file()]
    if files and len(files) == len(what):
        from cli.verify_export import verify_export

        sys.exit(max(verify_export(file, proof, keys) for file in files))
    sys.exit(verify_hosts(_home(home), what))


@main.command()
@HOME
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson", "ocsf", "ecs", "timesketch"]),
    default="ndjson",
    show_default=True,
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--host", multiple=True, help="Name or id. As all below: several times for several.")
@click.option("--herd", multiple=True)
@click.option("--from", "from_", help="Not before, RFC 3339.")
@click.option("--to", help="Not after, RFC 3339.")
@click.option("--kind", multiple=True, help="E.g. exec, file_change.")
@click.option("--user", multiple=True)
@click.option("--service", multiple=True)
@click.option("--session", "sessionID", multiple=True, type=int)
@click.option("--path", multiple=True, help="A changed file.")
@click.option("--path-prefix", "pathPrefix", multiple=True)
@click.option("--program", "processPath", multiple=True)
@click.option("--search", default="", help="Text in the command line.")
@click.option("--raw", is_flag=True, help="csv: leave cells that a spreadsheet takes for formulas.")
@click.option(
    "--proof",
    type=click.Choice(["headers", "full"]),
    default="headers",
    show_default=True,
    help="full: with the sealed bodies, so that verify can make every row again.",
)
def export(home: Path | None, form: str, out: Path, **query: Any) -> None:
    """Write all matching events to a file, and their proof beside it; goes on where it broke off.

    Status 1: the file cannot be written. 4: the gateway refuses or does not answer.
    """
    from cli.export import run_export

    query["from"] = query.pop("from_")
    query["raw"] = "true" if query["raw"] else ""
    sys.exit(run_export(_home(home), form, out, query))


@main.command("enrol-token")
@HOME
@click.option("--herd", default="default", show_default=True, help="Herd of the new host.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), default=24, show_default=True)
def enrol_token(home: Path | None, herd: str, hours: float) -> None:
    """Print a token that enrols one host, once; and the authority's fingerprint."""
    from cli.enrol import print_token

    sys.exit(print_token(_home(home), herd, hours))


@main.command()
@HOME
@click.option("--host", required=True, help="Its id or name.")
@click.option("--since", default="", help="Events not before (RFC 3339). Default: the beginning.")
@click.option("--until", default="", help="Events not after. Default: the end.")
@click.option("--authority", required=True, help="Who decided, e.g. a name and an office.")
@click.option("--reason", required=True)
def erase(home: Path | None, **wanted: str) -> None:
    """Remove evidence of a host by authority; headers, a mark and a gap stay."""
    from cli.rest import Gateway, RestError, fail

    try:
        gone = Gateway(_home(home)).post("nightherd/erasures", wanted)
    except RestError as error:
        fail(error, 4)
    print(f"host {gone['hostID']}: {gone['batches']} batches, {gone['events']} events removed")


@main.group()
def backup() -> None:
    """Back up the databases, restore them, check a backup (docs/how-to/back-up.md)."""


BACKUP = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@backup.command("create")
@HOME
@BACKUP
@click.option("--with-keys", is_flag=True, help="Also the authority and the first password.")
def backup_create(home: Path | None, folder: Path, with_keys: bool) -> None:  # noqa: FBT001
    """Write a backup to FOLDER, which must not exist; everything may run meanwhile."""
    from cli.backup.commands import run_create

    sys.exit(run_create(_home(home), folder.absolute(), with_keys=with_keys))


@backup.command("restore")
@HOME
@BACKUP
@click.option("--with-keys", is_flag=True, help="Also the keys that are in it.")
def backup_restore(home: Path | None, folder: Path, with_keys: bool) -> None:  # noqa: FBT001
    """Restore FOLDER into an empty MongoDB, with Nightherd stopped."""
    from cli.backup.commands import run_restore

    sys.exit(run_restore(_home(home), folder.absolute(), with_keys=with_keys))


@backup.command("verify")
@BACKUP
def backup_verify(folder: Path) -> None:
    """Check FOLDER without asking anybody: its files, and the chains in them. Status 1: broken."""
    from cli.backup.commands import run_verify

    sys.exit(run_verify(folder.absolute()))


@main.command("verify-heads")
@HOME
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", default="", help="Public key, hex, or its file. Default: FILE.pub.")
@click.option("--offline", is_flag=True, help="Do not ask the store whether it has all of it.")
def verify_heads(home: Path | None, file: Path, key: str, offline: bool) -> None:  # noqa: FBT001
    """Check a signed list of chain heads. Status 1: it is broken, or the store was rolled back."""
    from cli.heads import verify_heads

    sys.exit(verify_heads(_home(home), file, key, offline=offline))


@main.command()
@HOME
def status(home: Path | None) -> None:
    """Say what runs on this machine."""
    from cli.verify import print_status

    sys.exit(print_status(_home(home)))


def _list(home: Path | None, path: str, columns: list[str], form: str, **query: Any) -> None:
    from cli.output import rows
    from cli.rest import Gateway, RestError, fail

    try:
        found, total = Gateway(_home(home)).get(path, **query)
    except RestError as error:
        fail(error, 4)
    rows(found, columns, form, total)


@main.command()
@HOME
@FORM
@LIMIT
@OFFSET
def hosts(home: Path | None, output: str, limit: int, offset: int) -> None:
    """List watched hosts."""
    columns = ["hostID", "hostname", "herd", "level", "connected", "lastSeen", "gaps", "events"]
    columns += ["behindStore", "spoolBytes", "agentRssBytes", "agentCpuMs"]
    _list(home, "nightherd/hosts", columns, output, limit=limit, offset=offset)


@main.command()
@HOME
@FORM
@LIMIT
@OFFSET
@click.option("--type", "types", multiple=True, help='E.g. "accounts modified".')
@click.option("--user", "users", multiple=True)
@click.option("--host", "names", multiple=True)
@click.option("--search", default="")
def activities(output: str, home: Path | None, **query: Any) -> None:
    """List activities, newest first."""
    columns = ["time", "hostname", "user", "type", "interactive", "service", "command"]
    _list(home, "forensic/activities", columns, output, **_filters(query))


@main.command()
@HOME
@FORM
@LIMIT
@OFFSET
@click.option("--type", "types", multiple=True, help="processes, network, filesystem.")
@click.option("--user", "users", multiple=True)
@click.option("--host", "names", multiple=True)
@click.option("--search", default="")
def alerts(output: str, home: Path | None, **query: Any) -> None:
    """List alerts, newest first."""
    columns = ["time", "hostname", "severity", "count", "user", "msg"]
    _list(home, "audits/runtime/host", columns, output, **_filters(query))


def _filters(query: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": query.pop("types"),
        "user": query.pop("users"),
        "hostname": query.pop("names"),
        **query,
    }


def _event_options(command: Any) -> Any:
    """Add the options by which events are chosen."""
    values: dict[str, Any] = {"multiple": True}
    for option in (
        click.option("--host", "host", help="Name or id of a host.", **values),
        click.option("--herd", "herd", **values),
        click.option("--since", "from", default="", help="RFC 3339, UTC without a zone."),
        click.option("--until", "to", default=""),
        click.option("--around", default="", help="A moment, with --seconds before and after."),
        click.option("--seconds", type=click.IntRange(1, 86400), default=None),
        click.option("--kind", "kind", help="E.g. exec, file_change.", **values),
        click.option("--user", "user", help="Login user, else effective user.", **values),
        click.option("--effective-user", "effectiveUser", **values),
        click.option("--service", "service", **values),
        click.option("--session", "sessionID", type=click.IntRange(0), **values),
        click.option("--path", "path", help="A changed path.", **values),
        click.option("--path-prefix", "pathPrefix", **values),
        click.option("--executable", "processPath", **values),
        click.option("--exec-id", "execID", **values),
        click.option("--search", default="", help="Text in the command line."),
        click.option("--oldest", is_flag=True, help="Oldest first."),
        click.option("--limit", type=click.IntRange(1, 250), default=50, show_default=True),
        click.option("--cursor", default="", help="Go on where a page ended."),
        click.option("--all", "every", is_flag=True, help="Follow all pages."),
        click.option("--json", "as_json", is_flag=True, help="JSON lines; the same as -o json."),
    ):
        command = option(command)
    return command


def _pages(home: Path | None, path: str, columns: tuple[str, ...], query: dict[str, Any]) -> None:
    from cli.events import print_pages

    form = "json" if query.pop("as_json") else query.pop("output")
    query.pop("output", None)
    every = query.pop("every")
    query["order"] = "oldest" if query.pop("oldest") else ""
    print_pages(_home(home), path, columns, form, every=every, query=query)


@main.command()
@HOME
@FORM
@_event_options
def events(home: Path | None, **query: Any) -> None:
    """List events, newest first."""
    from cli.events import EVENT_COLUMNS

    _pages(home, "nightherd/events", EVENT_COLUMNS, query)


@main.command()
@HOME
@FORM
@_event_options
@click.option("--entry", multiple=True, help="event, activity, alert, gap; default: all.")
def timeline(home: Path | None, **query: Any) -> None:
    """Tell events, activities, alerts and gaps in one order, a sentence each."""
    from cli.events import TIMELINE_COLUMNS

    _pages(home, "nightherd/timeline", TIMELINE_COLUMNS, query)


@main.command()
@HOME
@click.argument("host")
@click.argument("exec_id")
@click.option("--seconds", type=click.IntRange(1, 86400), default=None, help="Before and after.")
@click.option("--json", "as_json", is_flag=True)
def tree(home: Path | None, host: str, exec_id: str, seconds: int | None, as_json: bool) -> None:  # noqa: FBT001
    """Show the processes around EXEC_ID on HOST: above, below, beside it, and what each did."""
    from cli.events import print_tree

    query = {"host": host, "execID": exec_id, "seconds": seconds}
    print_tree(_home(home), query, as_json=as_json)


@main.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(version("nightherd"))
    except PackageNotFoundError:
        print("0.1.0+checkout")


if __name__ == "__main__":
    main(prog_name="nightherd")
