"""`nightherd events`, `timeline` and `tree`: questions about what happened."""

import json
import sys
from typing import Any

from chassis.text import show
from cli.homes import Home
from cli.output import rows
from cli.rest import Gateway, RestError, fail

EVENT_COLUMNS = (
    *("time", "hostname", "kind", "user", "service", "command", "changedPaths", "paths", "execID"),
)
TIMELINE_COLUMNS = ("time", "hostname", "entry", "sentence", "execID")
UNREACHABLE = 4
DEPTH = 2


def print_pages(
    home: Home,
    path: str,
    columns: tuple[str, ...],
    form: str,
    *,
    every: bool,
    wide: bool = False,
    query: dict[str, Any],
) -> None:
    """Print the first page, or every one as it comes."""
    try:
        pages = Gateway(home).pages(path, every=every, **query)
        for number, (found, cursor) in enumerate(pages):
            if found or number == 0:
                rows(_flat(found, form), columns, form, head=number == 0, wide=wide)
            if cursor and not every:
                print(f"more: --all, or --cursor {cursor}", file=sys.stderr)
    except RestError as error:
        fail(error, UNREACHABLE)


def _flat(found: list[dict[str, Any]], form: str) -> list[dict[str, Any]]:
    """Return rows with the execID of what an entry of a timeline tells; JSON stays as it is."""
    if form == "json":
        return found
    return [{**row.get("item", {}), **row} for row in found]


def print_tree(home: Home, query: dict[str, Any], *, as_json: bool) -> None:
    """Print the processes around one, children below their parents."""
    try:
        found, _ = Gateway(home).get("nightherd/tree", **query)
    except RestError as error:
        fail(error, UNREACHABLE)
    if as_json:
        print(json.dumps(found))
        return
    nodes = {node.get("execID", ""): node for node in found["processes"]}
    children: dict[str, list[str]] = {}
    for key, node in nodes.items():
        parent = node.get("parentExecID", "")
        children.setdefault(parent if parent in nodes and parent != key else "", []).append(key)
    shown: set[str] = set()
    # A loop of parents has no root: its members come last, as roots.
    waiting = [(key, 0) for key in (*nodes, *reversed(children.get("", [])))]
    while waiting:
        key, depth = waiting.pop()
        if key not in shown:
            shown.add(key)
            print("  " * depth + _line(nodes[key]))
            for text in (*nodes[key].get("changedPaths", ()), *nodes[key].get("connections", ())):
                print("  " * (depth + DEPTH) + f"-> {show(text)}")
            waiting += [(child, depth + 1) for child in reversed(children.get(key, ()))]
    if not found["complete"]:
        print("there is more: --seconds makes the stretch shorter", file=sys.stderr)


def _line(node: dict[str, Any]) -> str:
    name = node.get("command") or node.get("processPath") or "?"
    mark = "*" if node.get("relation") == "self" else " "
    ended = f", ended {node['endTime']}" if "endTime" in node else ""
    user = f" ({node['user']}{ended})" if "user" in node else ""
    return f"{mark} {node.get('pid', '?')} {show(name)}{show(user)}"
