"""`nightherd erase`: says what would go, asks, and has it removed."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from chassis.text import show
from cli.homes import Home
from cli.rest import Gateway, RestError

PATH = "nightherd/erasures"
NOT_WANTED, NOBODY_ASKED, REFUSED = 1, 2, 4


def run_erase(home: Home, wanted: Mapping[str, str], *, dry_run: bool, yes: bool) -> int:
    """Erase; 0 done, 1 the person said no, 2 there is nobody to ask, 4 it was refused."""
    if not (dry_run or yes or sys.stdin.isatty()):
        print(
            "nightherd: nothing was erased: there is no terminal to ask at. --dry-run says what "
            "would go, --yes erases without asking",
            file=sys.stderr,
        )
        return NOBODY_ASKED
    try:
        gateway = Gateway(home)
        going = gateway.post(PATH, {**wanted, "dryRun": True})
        print(f"host {show(wanted['host'])} ({going['hostID']}), {_span(wanted)}: {_told(going)}")
        if dry_run:
            print("nothing was erased (--dry-run)")
            return 0
        if not yes and not click.confirm("Erase this for good?", default=False, err=True):
            print("nightherd: nothing was erased", file=sys.stderr)
            return NOT_WANTED
        # The host that was confirmed: its name may be another's by now.
        gone = gateway.post(PATH, {**wanted, "host": going["hostID"]})
    except RestError as error:
        print(f"nightherd: {error}", file=sys.stderr)
        return REFUSED
    except click.Abort:
        print("\nnightherd: nothing was erased", file=sys.stderr)
        return NOT_WANTED
    print(f"erased; {gone['batches']} batches of that span are gone, their headers stay")
    return 0


def _span(wanted: Mapping[str, str]) -> str:
    return f"{wanted['from'] or 'the beginning'} to {wanted['to'] or 'the end'}"


def _told(going: Mapping[str, Any]) -> str:
    told = f"{going['batches']:,} batches, {going['events']:,} events, {going['bytes']:,} bytes"
    if going["setAside"]:
        told += f", and {going['setAside']:,} rejected batches that were set aside"
    return told
