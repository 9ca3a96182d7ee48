"""What takes evidence out, and what checks it."""

import re
import sys
from pathlib import Path
from typing import Any

import click

from cli.commands.options import EVENTS, HOME, home_of

KEY = re.compile("[0-9A-Fa-f]{64}")


@click.command()
@HOME
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson", "ocsf", "ecs", "timesketch"]),
    default="ndjson",
    show_default=True,
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@EVENTS
@click.option("--raw", is_flag=True, help="csv: leave cells that a spreadsheet takes for formulas.")
@click.option(
    "--proof",
    type=click.Choice(["headers", "full"]),
    default="headers",
    show_default=True,
    help="full: with the sealed bodies, so that verify can make every row again.",
)
@click.option("--force", is_flag=True, help="Write over what is there.")
def export(home: Path | None, form: str, out: Path, force: bool, **query: Any) -> None:  # noqa: FBT001
    """Write all matching events to a file, and their proof beside it; goes on where it broke off.

    Status 1: the file cannot be written. 4: the gateway refuses or does not answer.
    """
    from cli.export import run_export

    query["raw"] = "true" if query["raw"] else ""
    sys.exit(run_export(home_of(home), form, out, query, force=force))


def _checked_keys(_: click.Context, __: click.Parameter, keys: tuple[str, ...]) -> tuple[str, ...]:
    for key in keys:
        if not KEY.fullmatch(key):
            raise click.BadParameter(
                f"{key!r} is no public key: 64 hex digits, as `nightherd verify FILE` shows them "
                "for each host"
            )
    return keys


@click.command()
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
@click.option(
    "--key",
    "keys",
    multiple=True,
    callback=_checked_keys,
    help="Hex of a host's public key that is trusted.",
)
def verify(
    home: Path | None,
    what: tuple[str, ...],
    spool: Path | None,
    proof: Path | None,
    keys: tuple[str, ...],
) -> None:
    """Check exported FILES, without asking anybody; or the chains of HOSTS (default: all).

    Status 1: broken. 2: there is no such file, no such host, or no export that can be read.
    """
    from cli.verify import verify_hosts, verify_named, verify_spool

    if spool:
        sys.exit(verify_spool(spool))
    if not what:
        if keys or proof:
            raise click.UsageError("--key and --proof are for exported files: name one")
        sys.exit(verify_hosts(home_of(home), ()))
    sys.exit(verify_named(home_of(home), what, proof, keys))


@click.command("verify-heads")
@HOME
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", default="", help="Public key, hex, or its file. Default: FILE.pub.")
@click.option("--offline", is_flag=True, help="Do not ask the store whether it has all of it.")
def verify_heads(home: Path | None, file: Path, key: str, offline: bool) -> None:  # noqa: FBT001
    """Check a signed list of chain heads. Status 1: it is broken, or the store was rolled back."""
    from cli.heads import verify_heads

    sys.exit(verify_heads(home_of(home), file, key, offline=offline))
