"""Hosts with their services and the models of these."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway import fields, queries, render_models
from gateway.auth import reader
from gateway.peers import DEADLINE_S, Peers
from gateway.problems import ProblemError
from gateway.queries import PAGING, Question
from gateway.routes.profiles import all_models
from gateway.streams import csv_answer, json_answer
from gateway.words import MODEL_STATES
from nightherd.modeler.v1 import model_pb2 as model
from nightherd.modeler.v1 import modeler_service_pb2 as pb
from nightherd.store.v1 import store_service_pb2 as store

router = APIRouter(tags=["models"], dependencies=[Depends(reader)])

HOST_QUERY = (
    *PAGING,
    *("id", "os", "state", "imageID", "image", "hostName", "namespace", "cluster"),
    *("hostname", "herd"),  # ours
)
_ALL_AT_ONCE = 250
_MOST_VALUES = 500
Models = Mapping[tuple[str, str], model.ModelSummary]


def _asked(question: Question) -> store.ListHostsRequest:
    if question.last("sort") not in ("", "_id", "hostname") or question.flag("reverse"):
        raise ProblemError(400, "sort: hosts come sorted by name, never otherwise")
    question.words("state", MODEL_STATES)
    names = [*question.all("id"), *question.all("hostName"), *question.all("hostname")]
    return store.ListHostsRequest(
        hosts=names, herds=question.all("herd"), search=question.last("search")
    )


def _leftover(question: Question) -> bool:
    """Whether something is asked for that the store does not filter hosts by."""
    names = ("os", "state", "cluster", "accountIDs", "imageID", "image", "namespace")
    return any(map(question.all, names))


def _passes(row: Mapping[str, Any], question: Question) -> bool:
    if any(map(question.all, ("imageID", "image", "namespace"))):
        return False  # hosts have none
    distribution = row["labels"][0].removeprefix("osDistro:")
    states = {app["state"] for app in row["apps"]}
    return all(
        not wanted or has & set(wanted)
        for has, wanted in (
            ({distribution}, question.all("os")),
            (states, question.all("state")),
            ({row["cluster"]}, question.all("cluster")),
            ({row["accountID"]}, question.all("accountIDs")),
        )
    )


async def _rows(peers: Peers, hosts: Iterable[store.Host]) -> list[dict[str, Any]]:
    """Return hosts with their services and the states of their models."""
    by_id = {host.host_id: host for host in hosts}
    if not by_id:
        return []
    asked = pb.ListHostServicesRequest(host_ids=by_id, limit=len(by_id))
    answer = await peers.modeler.ask(lambda stub: stub.ListHostServices(asked, timeout=DEADLINE_S))
    running = {found.host_id: list(found.services) for found in answer.hosts}
    known = await _models(peers, by_id.values(), running)
    return [
        render_models.host_profile(
            host,
            [
                render_models.app(service, known.get((host.herd, service)))
                for service in running.get(host_id, [])
            ],
        )
        for host_id, host in by_id.items()
    ]


async def _models(
    peers: Peers, hosts: Iterable[store.Host], running: Mapping[str, list[str]]
) -> Models:
    herds = sorted({host.herd for host in hosts})
    services = sorted({service for names in running.values() for service in names})
    found: dict[tuple[str, str], model.ModelSummary] = {}
    for start in range(0, len(services), _MOST_VALUES):
        some = services[start : start + _MOST_VALUES]
        asked = pb.ListModelsRequest(herds=herds, services=some, brief=True)
        async for part in all_models(peers, asked):
            found |= {(summary.herd, summary.service): summary for summary in part}
    return found


async def _parts(peers: Peers, question: Question) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield all hosts that match, in parts."""
    asked = _asked(question)
    asked.limit = _ALL_AT_ONCE
    while True:
        answer = await peers.store.ask(lambda stub: stub.ListHosts(asked, timeout=DEADLINE_S))
        rows = await _rows(peers, answer.hosts)
        yield [row for row in rows if _passes(row, question)]
        asked.offset += len(answer.hosts)
        if not answer.hosts or asked.offset >= answer.total_count:
            return


@router.get(
    "/profiles/host",
    openapi_extra=queries.parameters(HOST_QUERY, fields.rows(fields.HOST_PROFILE)),
)
async def list_hosts(request: Request) -> Response:
    """Return each host with its services and the states of their models."""
    peers: Peers = request.app.state.peers
    known = (*fields.HOST_PROFILE, *fields.HOST_PROFILE_ELSEWHERE)
    question = queries.read(request, HOST_QUERY, known)
    offset, limit = question.number("offset", 0), question.limit()
    if _leftover(question):
        rows = [row async for part in _parts(peers, question) for row in part]
        total, rows = len(rows), rows[offset : offset + limit]
    else:
        asked = _asked(question)
        asked.offset, asked.limit = offset, limit
        answer = await peers.store.ask(lambda stub: stub.ListHosts(asked, timeout=DEADLINE_S))
        total, rows = answer.total_count, await _rows(peers, answer.hosts)
    return json_answer([question.project(row) for row in rows], total)


@router.get(
    "/profiles/host/download",
    openapi_extra=queries.parameters((*HOST_QUERY, "raw"), fields.file(fields.HOST_SERVICE)),
)
async def download_hosts(request: Request) -> Response:
    """Return each service of each host as CSV."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, (*HOST_QUERY, "raw"), fields.HOST_SERVICE)

    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        async for part in _parts(peers, question):
            yield [
                {
                    "hostname": row["_id"],
                    "hostID": row["hostID"],
                    "herd": row["herd"],
                    "service": app["name"],
                    "profileID": app["profileID"],
                    "state": app["state"],
                    "revision": app["revision"],
                }
                for row in part
                for app in row["apps"]
            ]

    columns = fields.columns(fields.HOST_SERVICE)
    return await csv_answer(parts(), columns, question, "host_profiles.csv")
