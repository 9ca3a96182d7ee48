"""Exports: all events that match, as files, without a cap."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from evidence.exports import proof
from evidence.exports.formats import BY_NAME
from gateway import fields, queries
from gateway.auth import reader
from gateway.event_filters import EVENT_FILTER, events_filter
from gateway.exports import Export, content
from gateway.peers import Peers
from gateway.problems import ProblemError
from gateway.rendering import Setup
from gateway.streams import ExactType, begun

router = APIRouter(prefix="/nightherd", tags=["nightherd"], dependencies=[Depends(reader)])

EXPORT_QUERY = (*EVENT_FILTER, "raw", "after", "position", "proof")
PROOFS = {each: each for each in (proof.HEADERS, proof.FULL)}
WITH_PROOF = "application/vnd.nightherd.export"


@router.get(
    "/export/{form}", openapi_extra=queries.parameters(EXPORT_QUERY, fields.file(fields.EVENT))
)
async def export_events(request: Request, form: str) -> Response:
    """Return all matching events as csv, ndjson, ocsf, ecs or timesketch, without a cap.

    `after` (id of the last row that arrived) goes on where an answer broke off. With `proof`,
    lines that begin with # stand behind the rows of each batch: what they can be held to.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, EXPORT_QUERY)
    if form not in BY_NAME:
        raise ProblemError(404, f"Formats are {', '.join(BY_NAME)}")
    chosen = [*question.words("proof", PROOFS), ""][0]
    raw = question.flag("raw") or False
    made, asked = BY_NAME[form], events_filter(question)
    setup = Setup.of(asked, form, raw=raw, proof=chosen)
    export = Export(asked, setup, question.last("after"), question.last("position"))
    parts = await begun(content(peers, request.app.state.renderers, export))
    media_type = WITH_PROOF if chosen else made.media_type
    return ExactType(parts, media_type, f"nightherd-events.{made.suffix}")
