"""Incidents: alerts that belong together; and that somebody has seen them."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway import bodies, fields, queries, render_incidents
from gateway.auth import reader, writer
from gateway.peers import DEADLINE_S, STREAM_S, Peers
from gateway.problems import ProblemError
from gateway.queries import Question
from gateway.repository import User
from gateway.streams import csv_answer, json_answer
from gateway.words import INCIDENT_STATES
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(prefix="/nightherd", tags=["nightherd"])
Reader = Depends(reader)

INCIDENT_FILTER = ("host", "hostname", "herd", "user", "service", "state", "from", "to", "fields")
INCIDENT_QUERY = ("offset", "limit", *INCIDENT_FILTER)
INCIDENT_FILE = (*INCIDENT_FILTER, "raw")


class Acknowledgement(BaseModel):
    """What is to be said about an incident that was seen."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(default="", max_length=1000, description="what came of it")


def _filter(question: Question) -> pb.IncidentFilter:
    return pb.IncidentFilter(
        hosts=[*question.all("hostname"), *question.all("host")],
        herds=question.all("herd"),
        users=question.all("user"),
        services=question.all("service"),
        states=question.words("state", INCIDENT_STATES),
        from_time=question.time("from"),
        to_time=question.time("to"),
    )


@router.get(
    "/incidents",
    openapi_extra=queries.parameters(INCIDENT_QUERY, fields.rows(fields.INCIDENT)),
    dependencies=[Reader],
)
async def list_incidents(request: Request) -> Response:
    """Return alerts that belong together as incidents, by their last alert, newest first.

    `from` and `to` find those with alerts in that span; `state` is open, quiet or acknowledged.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, INCIDENT_QUERY, fields.INCIDENT)
    asked = pb.ListIncidentsRequest(
        filter=_filter(question), offset=question.number("offset", 0), limit=question.limit()
    )
    answer = await peers.store.ask(lambda stub: stub.ListIncidents(asked, timeout=DEADLINE_S))
    rows = [question.project(render_incidents.incident(found)) for found in answer.incidents]
    return json_answer(rows, answer.total_count)


@router.get(
    "/incidents/download",
    openapi_extra=queries.parameters(INCIDENT_FILE, fields.file(fields.INCIDENT)),
    dependencies=[Reader],
)
async def download_incidents(request: Request) -> Response:
    """Return all matching incidents as CSV, without a cap."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, INCIDENT_FILE, fields.INCIDENT)
    asked = pb.StreamIncidentsRequest(filter=_filter(question))

    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        answer = peers.store.parts(lambda stub: stub.StreamIncidents(asked, timeout=STREAM_S))
        async for part in answer:
            yield [render_incidents.incident(found) for found in part.incidents]

    return await csv_answer(parts(), fields.columns(fields.INCIDENT), question, "incidents.csv")


@router.get(
    "/incidents/{incident}",
    openapi_extra=queries.parameters((), fields.one(fields.INCIDENT)),
    dependencies=[Reader],
)
async def get_incident(request: Request, incident: str) -> Response:
    """Return one incident."""
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    asked = pb.GetIncidentRequest(incident_id=_id(incident))
    answer = await peers.store.ask(lambda stub: stub.GetIncident(asked, timeout=DEADLINE_S))
    return json_answer(render_incidents.incident(answer.incident))


@router.post(
    "/incidents/{incident}/acknowledge",
    openapi_extra=queries.parameters(
        (), bodies.described(Acknowledgement), fields.one(fields.INCIDENT)
    ),
)
async def acknowledge(
    request: Request, incident: str, user: Annotated[User, Depends(writer)]
) -> Response:
    """Say that an incident was seen, and close it; the answer says by whom: the first stands."""
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    said = await bodies.read(request, Acknowledgement)
    request.state.deed = ("settings", f"acknowledged incident {incident[:64]}: {said.note}")
    asked = pb.AcknowledgeIncidentRequest(
        incident_id=_id(incident), acknowledged_by=user.name, note=said.note
    )
    answer = await peers.store.ask(lambda stub: stub.AcknowledgeIncident(asked, timeout=DEADLINE_S))
    return json_answer(render_incidents.incident(answer.incident))


def _id(incident: str) -> str:
    if "\0" in incident:
        raise ProblemError(404, "There is no such incident", reason="INCIDENT_UNKNOWN")
    return incident
