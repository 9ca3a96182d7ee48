"""Erasure of evidence by authority: for admins only, recorded before it is answered."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway import bodies, queries
from gateway.auth import administrator
from gateway.peers import CUSTODY_S, Peers
from gateway.problems import ProblemError
from gateway.queries import Question
from gateway.repository import User
from gateway.routes.evidence import host_id_of
from gateway.streams import json_answer
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(prefix="/nightherd", tags=["nightherd"])


class Erasure(BaseModel):
    """What has to go, who decided that, and why."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(min_length=1, max_length=256, description="hostID or name")
    since: str = Field(
        default="",
        alias="from",
        max_length=64,
        description="events not before; empty: from the beginning",
    )
    until: str = Field(
        default="", alias="to", max_length=64, description="events not after; empty: to the end"
    )
    authority: str = Field(
        default="",
        max_length=1000,
        description="who decided, e.g. a name and an office; empty only with dryRun",
    )
    reason: str = Field(default="", max_length=1000, description="why; empty only with dryRun")
    dry_run: bool = Field(
        default=False, alias="dryRun", description="remove nothing; say what would go"
    )


@router.post("/erasures", openapi_extra=queries.parameters((), bodies.described(Erasure)))
async def erase(request: Request, user: Annotated[User, Depends(administrator)]) -> Response:
    """Remove the bodies of a host's batches by authority; headers, a mark and a gap stay.

    `dryRun` removes nothing and says what would go: batches, events, bytes, batches set aside.
    """
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    wanted = await bodies.read(request, Erasure)
    deed = "dry run of an erasure" if wanted.dry_run else "erasure"
    request.state.deed = ("settings", f"{deed}, host {wanted.host}: {wanted.reason}")
    if "\0" in wanted.host + wanted.authority + wanted.reason:
        raise ProblemError(400, "NUL is in no name")
    given = Question({"from": [wanted.since], "to": [wanted.until]})
    given.span()
    host_id = await host_id_of(peers, wanted.host)
    span = f"{wanted.since or 'the beginning'} to {wanted.until or 'the end'}"
    said = f"{deed}, host {host_id}, {span}, by authority of {wanted.authority}: {wanted.reason}"
    request.state.deed = ("settings", said)
    asked = pb.EraseEvidenceRequest(
        host_id=host_id,
        from_time=given.time("from"),
        to_time=given.time("to"),
        authority=wanted.authority and f"{wanted.authority} (entered by {user.name})",
        reason=wanted.reason,
        dry_run=wanted.dry_run,
    )
    answer = await peers.store.ask(lambda stub: stub.EraseEvidence(asked, timeout=CUSTODY_S))
    return json_answer(
        {
            "hostID": host_id,
            "dryRun": wanted.dry_run,
            "batches": answer.batch_count,
            "events": answer.event_count,
            "bytes": answer.size_bytes,
            "setAside": answer.set_aside_count,
        }
    )
