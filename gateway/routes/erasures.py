"""Erasure of evidence by authority: for admins only, recorded before it is answered."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from google.protobuf.timestamp_pb2 import Timestamp
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
        default="", max_length=64, description="events not before; empty: from the beginning"
    )
    until: str = Field(default="", max_length=64, description="events not after; empty: to the end")
    authority: str = Field(
        min_length=1, max_length=1000, description="who decided, e.g. a name and an office"
    )
    reason: str = Field(min_length=1, max_length=1000, description="why")


@router.post("/erasures", openapi_extra=queries.parameters((), bodies.described(Erasure)))
async def erase(request: Request, user: Annotated[User, Depends(administrator)]) -> Response:
    """Remove the bodies of a host's batches by authority; headers, a mark and a gap stay."""
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    wanted = await bodies.read(request, Erasure)
    request.state.deed = ("settings", f"erasure, host {wanted.host}: {wanted.reason}")
    if "\0" in wanted.host + wanted.authority + wanted.reason:
        raise ProblemError(400, "NUL is in no name")
    host_id = await host_id_of(peers, wanted.host)
    span = f"{wanted.since or 'the beginning'} to {wanted.until or 'the end'}"
    said = f"erasure, host {host_id}, {span}, by authority of {wanted.authority}: {wanted.reason}"
    request.state.deed = ("settings", said)
    asked = pb.EraseEvidenceRequest(
        host_id=host_id,
        from_time=_moment("since", wanted.since),
        to_time=_moment("until", wanted.until),
        authority=f"{wanted.authority} (entered by {user.name})",
        reason=wanted.reason,
    )
    answer = await peers.store.ask(lambda stub: stub.EraseEvidence(asked, timeout=CUSTODY_S))
    return json_answer(
        {"hostID": host_id, "batches": answer.batch_count, "events": answer.event_count}
    )


def _moment(name: str, text: str) -> Timestamp | None:
    return Question({name: [text]}).time(name)
