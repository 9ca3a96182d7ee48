"""What the contract has no words for: hosts and how well they are seen, gaps, custody, events."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from google.protobuf.json_format import MessageToDict
from starlette.responses import Response

from chassis import clock
from chassis.text import show
from gateway import queries, render
from gateway.auth import reader
from gateway.peers import DEADLINE_S, Peers
from gateway.problems import ProblemError
from gateway.streams import ExactType, first_of, json_answer
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(prefix="/nightherd", tags=["nightherd"], dependencies=[Depends(reader)])

HOST_QUERY = ("offset", "limit", "search", "hostname", "herd", "fields")
GAP_QUERY = ("offset", "limit", "hostname", "from", "to", "fields")
EVENT_QUERY = ("host", "from", "to")
CUSTODY_S = 300.0


def _peers(request: Request) -> Peers:
    peers: Peers = request.app.state.peers
    return peers


@router.get("/hosts", openapi_extra=queries.parameters(HOST_QUERY))
async def hosts(request: Request) -> Response:
    """Return watched hosts: level, what is not seen, last seen, gaps, clock skew, chains."""
    question = queries.read(request, HOST_QUERY)
    paging = queries.paging(question)
    answer = await _peers(request).store.ListHosts(
        pb.ListHostsRequest(
            hosts=question.all("hostname"),
            herds=question.all("herd"),
            search=question.last("search"),
            offset=paging.offset,
            limit=paging.limit,
        ),
        timeout=DEADLINE_S,
    )
    rows = [queries.project(render.host(host), question) for host in answer.hosts]
    return json_answer(rows, answer.total_count)


@router.get("/gaps", openapi_extra=queries.parameters(GAP_QUERY))
async def gaps(request: Request) -> Response:
    """Return stretches for which events are known to be missing, newest first."""
    question = queries.read(request, GAP_QUERY)
    paging = queries.paging(question)
    answer = await _peers(request).store.ListGaps(
        pb.ListGapsRequest(
            hosts=question.all("hostname"),
            from_time=question.time("from"),
            to_time=question.time("to"),
            offset=paging.offset,
            limit=paging.limit,
        ),
        timeout=DEADLINE_S,
    )
    rows = [queries.project(render.gap(record), question) for record in answer.gaps]
    return json_answer(rows, answer.total_count)


@router.get("/custody/{host}", openapi_extra=queries.parameters(("from", "to")))
async def custody(request: Request, host: str) -> Response:
    """Check a host's chains: numbers, links, hashes, signatures."""
    question = queries.read(request, ("from", "to"))
    host_id = await _host_id(request, host)
    answer = await _peers(request).store.VerifyCustody(
        pb.VerifyCustodyRequest(
            host_id=host_id, from_time=question.time("from"), to_time=question.time("to")
        ),
        timeout=CUSTODY_S,
    )
    return json_answer(render.custody(answer, host_id))


async def _host_id(request: Request, host: str) -> str:
    """Return the id of a host that is named by id or name.

    Raises:
        ProblemError: none (404), or several (409).
    """
    answer = await _peers(request).store.ListHosts(
        pb.ListHostsRequest(hosts=[host], limit=2), timeout=DEADLINE_S
    )
    if not answer.hosts:
        raise ProblemError(404, f"No host {show(host)}")
    if len(answer.hosts) > 1:
        raise ProblemError(409, f"Several hosts are called {show(host)}: use the hostID")
    return answer.hosts[0].host_id


@router.get("/events", openapi_extra=queries.parameters(EVENT_QUERY))
async def stream_events(request: Request) -> Response:
    """Return the stored events of one host as JSON lines, one batch a line, in chain order."""
    question = queries.read(request, EVENT_QUERY)
    if not question.last("host"):
        raise ProblemError(400, "host: say whose events")
    host_id = await _host_id(request, question.last("host"))
    call = _peers(request).store.StreamEvents(
        pb.StreamEventsRequest(
            host_id=host_id, from_time=question.time("from"), to_time=question.time("to")
        )
    )
    return ExactType(_lines(await first_of(_each(call))), "application/x-ndjson")


async def _each(call: Any) -> AsyncIterator[pb.StreamEventsResponse]:
    async for part in call:
        yield part


async def _lines(parts: AsyncIterator[pb.StreamEventsResponse]) -> AsyncIterator[bytes]:
    async for part in parts:
        header = delivery.BatchHeader.FromString(part.header)
        line = {
            "hostID": header.host_id,
            "chainID": header.chain_id.hex(),
            "batch": header.batch_number,
            "sealed": clock.rfc3339(clock.from_timestamp(header.sealed_time)),
            "images": [_readable(image) for image in part.body.images],
            "events": [_readable(event) for event in part.body.events],
        }
        yield orjson.dumps(line) + b"\n"


def _readable(message: events.Image | events.Event) -> dict[str, Any]:
    """Return a message as JSON, its bytes as readable text instead of base64."""
    document: dict[str, Any] = MessageToDict(message)
    _show_bytes(message, document)
    return document


def _show_bytes(message: Any, document: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        name = field.json_name
        if field.type == field.TYPE_BYTES:
            document[name] = [show(v) for v in value] if field.is_repeated else show(value)
        elif field.type == field.TYPE_MESSAGE and name in document:
            if field.is_repeated:
                for child, shown in zip(value, document[name], strict=True):
                    _show_bytes(child, shown)
            elif isinstance(document[name], dict):
                _show_bytes(value, document[name])


@router.get("/health")
async def health(request: Request) -> Response:
    """Return which services behind the gateway do their work."""
    return json_answer(await _peers(request).health())
