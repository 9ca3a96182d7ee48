"""Hosts, gaps, custody and stored events: what the contract has no words for."""

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from google.protobuf.json_format import MessageToDict
from starlette.responses import Response

from chassis import clock
from chassis.text import show
from evidence.lineage import Lineage, copied
from gateway import fields, queries, render_hosts, words
from gateway.auth import reader
from gateway.peers import CUSTODY_S, DEADLINE_S, STREAM_S, Peers
from gateway.problems import ProblemError
from gateway.streams import ExactType, begun, json_answer
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

router = APIRouter(prefix="/nightherd", tags=["nightherd"], dependencies=[Depends(reader)])

HOST_QUERY = ("offset", "limit", "search", "host", "hostname", "herd", "fields")
GAP_QUERY = ("offset", "limit", "host", "hostname", "from", "to", "fields")
BATCH_QUERY = ("host", "from", "to")
HEAD = re.compile(r"([0-9a-f]{32}):([0-9]{1,15}):([0-9a-f]{64})")
CUSTODY_QUERY = ("from", "to", "head")


@router.get("/hosts", openapi_extra=queries.parameters(HOST_QUERY, fields.rows(fields.HOST)))
async def list_hosts(request: Request) -> Response:
    """Return watched hosts: level, what is not seen, last seen, gaps, clock skew, chains."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, HOST_QUERY, fields.HOST)
    asked = pb.ListHostsRequest(
        hosts=[*question.all("hostname"), *question.all("host")],
        herds=question.all("herd"),
        search=question.last("search"),
        offset=question.number("offset", 0),
        limit=question.limit(),
    )
    answer = await peers.store.ask(lambda stub: stub.ListHosts(asked, timeout=DEADLINE_S))
    rows = [question.project(render_hosts.host(host)) for host in answer.hosts]
    return json_answer(rows, answer.total_count)


@router.get("/gaps", openapi_extra=queries.parameters(GAP_QUERY, fields.rows(fields.GAP)))
async def list_gaps(request: Request) -> Response:
    """Return stretches for which events are known to be missing, newest first."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, GAP_QUERY, fields.GAP)
    asked = pb.ListGapsRequest(
        hosts=[*question.all("hostname"), *question.all("host")],
        from_time=question.time("from"),
        to_time=question.time("to"),
        offset=question.number("offset", 0),
        limit=question.limit(),
    )
    answer = await peers.store.ask(lambda stub: stub.ListGaps(asked, timeout=DEADLINE_S))
    rows = [question.project(render_hosts.gap(record)) for record in answer.gaps]
    return json_answer(rows, answer.total_count)


@router.get("/custody/{host}", openapi_extra=queries.parameters(CUSTODY_QUERY))
async def custody(request: Request, host: str) -> Response:
    """Check a host's chains: numbers, links, hashes, signatures.

    `head` (chain:number:hash, hex, as signed lists have them) names batches that must be there.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, CUSTODY_QUERY)
    heads = [_head(text) for text in question.all("head")]
    host_id = await host_id_of(peers, host)
    asked = pb.VerifyCustodyRequest(
        host_id=host_id,
        from_time=question.time("from"),
        to_time=question.time("to"),
        heads=heads,
    )
    answer = await peers.store.ask(lambda stub: stub.VerifyCustody(asked, timeout=CUSTODY_S))
    return json_answer(render_hosts.custody(answer, host_id))


def _head(text: str) -> pb.VerifyCustodyRequest.Head:
    match = HEAD.fullmatch(text)
    if match is None:
        raise ProblemError(400, f"head: {text!r} is not chain:number:hash")
    return pb.VerifyCustodyRequest.Head(chain_id=match[1], number=int(match[2]), hash=match[3])


async def host_id_of(peers: Peers, host: str) -> str:
    """Return the id of a host that is named by id or name.

    Raises:
        ProblemError: no such host (404), or several of that name (409).
    """
    if not host or "\0" in host:
        raise ProblemError(400, "host: say which, by hostID or name")
    asked = pb.ListHostsRequest(hosts=[host], limit=1000)
    answer = await peers.store.ask(lambda stub: stub.ListHosts(asked, timeout=DEADLINE_S))
    ids = [found.host_id for found in answer.hosts]
    if host in ids:  # no host can take another's id as its name
        return host
    if not ids:
        raise ProblemError(404, f"There is no host {host}", reason="HOST_UNKNOWN")
    if len(ids) > 1:
        raise ProblemError(409, f"Several hosts are called {host}; use one of {', '.join(ids[:9])}")
    return ids[0]


@router.get(
    "/batches",
    openapi_extra=queries.parameters(BATCH_QUERY, fields.file((), "application/x-ndjson")),
)
async def stream_batches(request: Request) -> Response:
    """Return the stored events of one host as JSON lines, one batch a line, in chain order.

    Each line has the facts of the batch's header, its images, and its events; an event's `actor`
    is a place in `images`.
    """
    peers: Peers = request.app.state.peers
    question = queries.read(request, BATCH_QUERY)
    host_id = await host_id_of(peers, question.last("host"))
    asked = pb.StreamEventsRequest(
        host_id=host_id, from_time=question.time("from"), to_time=question.time("to")
    )
    parts = peers.store.parts(lambda stub: stub.StreamEvents(asked, timeout=STREAM_S))
    return ExactType(_lines(await begun(parts)), "application/x-ndjson")


async def _lines(parts: AsyncIterator[pb.StreamEventsResponse]) -> AsyncIterator[bytes]:
    async for part in parts:
        header = delivery.BatchHeader.FromString(part.header)
        lineage = Lineage(part.body)
        line = {
            "hostID": header.host_id,
            "chainID": header.chain_id.hex(),
            "batch": header.batch_number,
            "hash": hashlib.sha256(part.header).hexdigest(),
            "previousHash": header.previous_hash.hex(),
            "sealed": clock.rfc3339(clock.from_timestamp(header.sealed_time)),
            "bootID": header.boot_id,
            "herd": header.herd,
            "origin": words.ORIGINS.get(header.origin, ""),
            "agentVersion": header.agent_version,
            "redactionVersion": header.redaction_version,
            "images": [_image(image, lineage) for image in part.body.images],
            "events": [_readable(event) for event in part.body.events],
        }
        yield orjson.dumps(line) + b"\n"


def _image(image: events.Image, lineage: Lineage) -> dict[str, Any]:
    """Return an image with what stands above it, nearest first: it can be read by itself."""
    document = _readable(image)
    document.pop("ancestor", None)
    if above := lineage.above(image):
        document["ancestors"] = [_readable(copied(ancestor)) for ancestor in above]
    return document


def _readable(message: events.Image | events.Ancestor | events.Event) -> dict[str, Any]:
    """Return a message as JSON, its bytes as readable text instead of base64."""
    document: dict[str, Any] = MessageToDict(message)
    _show_text(message, document)
    return document


def _show_text(message: Any, document: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        name = field.json_name
        if field.type in (field.TYPE_BYTES, field.TYPE_STRING):
            document[name] = [show(v) for v in value] if field.is_repeated else show(value)
        elif field.type == field.TYPE_MESSAGE and name in document:
            if field.is_repeated:
                for child, shown in zip(value, document[name], strict=True):
                    _show_text(child, shown)
            elif isinstance(document[name], dict):
                _show_text(value, document[name])


@router.get("/health")
async def health(request: Request) -> Response:
    """Return which services behind the gateway do their work."""
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    return json_answer(await peers.health())
