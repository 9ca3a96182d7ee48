"""What is asked of agents: further paths to watch, a lower level."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from chassis.text import show
from gateway import bodies, fields, queries
from gateway.auth import administrator, reader
from gateway.peers import DEADLINE_S, Peers
from gateway.problems import ProblemError
from gateway.render import moment
from gateway.repository import User
from gateway.routes.evidence import host_id_of
from gateway.streams import json_answer
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(prefix="/nightherd", tags=["nightherd"])

_LEVELS = {
    "own": events.LEVEL_UNSPECIFIED,
    "full": events.LEVEL_FULL,
    "audit": events.LEVEL_AUDIT,
    "poll": events.LEVEL_POLL,
}
_MOST_PATH_BYTES = 4096
_SAID = {level: name for name, level in _LEVELS.items()}


class Asked(BaseModel):
    """What is asked of one host or one herd: the whole of it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    host: str = Field(default="", max_length=256, description="hostID or name; or else `herd`")
    herd: str = Field(default="", max_length=256, description="name of a herd; or else `host`")
    watch_paths: list[str] = Field(
        default=[],
        alias="watchPaths",
        max_length=200,
        description="absolute paths, files or folders, to watch beside the agents' own list",
    )
    level: Literal["own", "full", "audit", "poll"] = Field(
        default="own", description="level to work at; own: what each agent's setting says"
    )


@router.get(
    "/directives",
    openapi_extra=queries.parameters(("fields",), fields.rows(fields.DIRECTIVE)),
    dependencies=[Depends(reader)],
)
async def list_directives(request: Request) -> Response:
    """Return what is asked of herds and hosts."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, ("fields",), fields.DIRECTIVE)
    asked = pb.ListDirectivesRequest()
    answer = await peers.store.ask(lambda stub: stub.ListDirectives(asked, timeout=DEADLINE_S))
    rows = [question.project(_row(record)) for record in answer.records]
    return json_answer(rows, len(rows))


@router.post("/directives", openapi_extra=queries.parameters((), bodies.described(Asked)))
async def set_directive(
    request: Request, user: Annotated[User, Depends(administrator)]
) -> Response:
    """Ask something of a host or a herd, in place of what was asked of it before.

    Connected agents do it within half a minute, others when they connect. Without paths and with
    the level `own` nothing is asked any more. A host is asked for its herd's paths and its own.
    """
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    wanted = await bodies.read(request, Asked)
    if bool(wanted.host) == bool(wanted.herd):
        raise ProblemError(400, "Name either a host or a herd")
    if "\0" in wanted.host + wanted.herd:
        raise ProblemError(400, "NUL is in no name")
    paths = list(dict.fromkeys(_path(path) for path in wanted.watch_paths))
    whom = f"host {wanted.host}" if wanted.host else f"herd {wanted.herd}"
    said = f"asked of {whom}: level {wanted.level}, paths {', '.join(wanted.watch_paths) or 'none'}"
    request.state.deed = ("settings", said)
    record = pb.DirectiveRecord(
        directive=delivery.Directive(watch_paths=paths, level=_LEVELS[wanted.level]),
        entered_by=user.name,
    )
    if wanted.host:
        record.host_id = await host_id_of(peers, wanted.host)
    else:
        record.herd = wanted.herd
    asked = pb.SetDirectiveRequest(record=record)
    await peers.store.ask(lambda stub: stub.SetDirective(asked, timeout=DEADLINE_S))
    return json_answer(_row(record))


def _path(text: str) -> bytes:
    try:
        path = text.encode()
    except UnicodeEncodeError:
        raise ProblemError(400, "A path is UTF-8") from None
    if len(path) > _MOST_PATH_BYTES:
        raise ProblemError(400, f"A path has at most {_MOST_PATH_BYTES} bytes")
    if not path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/"):
        raise ProblemError(400, f"{show(text)[:100]!r} is no absolute path without `..`")
    return path


def _row(record: pb.DirectiveRecord) -> dict[str, Any]:
    return {
        "host": show(record.host_id),
        "herd": show(record.herd),
        "watchPaths": [show(path) for path in record.directive.watch_paths],
        "level": _SAID.get(record.directive.level, "own"),
        "by": show(record.entered_by),
        "at": moment(record, "entered_time"),
    }
