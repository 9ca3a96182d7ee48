"""Questions about what happened."""

from pathlib import Path
from typing import Any

import click

from cli.commands import options
from cli.commands.options import EVENTS, HOME, OUTPUT, SECONDS

PAGES = options.with_options(
    click.option(
        "--around",
        callback=options.moment,
        default="",
        help="A moment, with --seconds before and after.",
    ),
    SECONDS,
    click.option("--oldest", is_flag=True, help="Oldest first."),
    options.LIMIT,
    click.option("--cursor", default="", help="Go on where a page ended."),
    click.option("--all", "every", is_flag=True, help="Follow all pages."),
)


def _pages(home: Path | None, path: str, columns: tuple[str, ...], query: dict[str, Any]) -> None:
    from cli.events import print_pages

    form, wide = options.shown(query)
    every = query.pop("every")
    query["order"] = "oldest" if query.pop("oldest") else ""
    place = options.home_of(home)
    print_pages(place, path, columns, form, every=every, wide=wide, query=query)


@click.command()
@HOME
@OUTPUT
@EVENTS
@PAGES
def events(home: Path | None, **query: Any) -> None:
    """List events, newest first. EXECID is what `nightherd tree` asks for."""
    from cli.events import EVENT_COLUMNS

    _pages(home, "nightherd/events", EVENT_COLUMNS, query)


@click.command()
@HOME
@OUTPUT
@EVENTS
@PAGES
@click.option("--entry", multiple=True, help="event, activity, alert, incident, gap; default: all.")
def timeline(home: Path | None, **query: Any) -> None:
    """Tell events, activities, alerts, incidents and gaps in one order, a sentence each."""
    from cli.events import TIMELINE_COLUMNS

    _pages(home, "nightherd/timeline", TIMELINE_COLUMNS, query)


@click.command()
@HOME
@click.argument("host")
@click.argument("exec_id")
@SECONDS
@click.option(
    "-o", "--output", type=click.Choice(["tree", "json"]), default="tree", show_default=True
)
def tree(home: Path | None, host: str, exec_id: str, seconds: int | None, output: str) -> None:
    """Show the processes around EXEC_ID on HOST: above, below, beside it, and what each did.

    EXEC_ID is in the last column of `nightherd events`, activities and alerts.
    """
    from cli.events import print_tree

    query = {"host": host, "execID": exec_id, "seconds": seconds}
    print_tree(options.home_of(home), query, as_json=output == "json")
