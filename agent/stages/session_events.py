"""News of the session book, as events."""

from agent.lines import Ran
from agent.names import Names
from agent.processes import Process
from agent.sensors.records import UNSET_ID
from agent.stages.fold import Made
from agent.stages.session_book import LoginChange
from agent.stages.sessions import Session
from chassis import clock
from nightherd.event.v1 import event_pb2 as events


def told_session(
    news: tuple[int, Process | None, Session, bool], names: Names, offset_ns: int
) -> Made:
    """Return the event of one piece of news; boot time plus `offset_ns` is wall time."""
    boot_ns, process, session, ended = news
    event = events.Event(
        event_time=clock.to_timestamp(boot_ns + offset_ns), attribution=events.ATTRIBUTION_EXACT
    )
    if ended:
        event.session_end.session_id = session.session_id
    else:
        start = event.session_start
        start.session_id = session.session_id
        start.login_user_id = session.login_user_id
        start.login_user = names[session.login_user_id]
        start.terminal = session.terminal
        start.source_address = session.source_address
        start.opener = session.opener
        start.preexisting = session.preexisting
        if process is not None:
            start.provenance = process.image.provenance
    ran = process.ran if process is not None else None
    return Made(ran, event, urgent=not session.preexisting)


def told_login_change(change: LoginChange, ran: Ran, offset_ns: int) -> Made:
    """Return the event of a login uid that the process of `ran` wrote."""
    event = events.Event(
        event_time=clock.to_timestamp(change.boot_ns + offset_ns),
        attribution=events.ATTRIBUTION_EXACT,
    )
    told = event.login_user_change
    if change.before[0] != UNSET_ID:
        told.previous_login_user_id = change.before[0]
    if change.now[0] != UNSET_ID:
        told.login_user_id = change.now[0]
    if change.now[1] != UNSET_ID:
        told.session_id = change.now[1]
    return Made(ran, event, urgent=True)
