"""What services do: models per service and per host, and their learning."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway import queries, render
from gateway.auth import Caller, reader, writer
from gateway.peers import DEADLINE_S, Peers
from gateway.problems import ProblemError
from gateway.queries import PAGING
from gateway.streams import ExactType, csv_lines, json_answer
from gateway.words import MODEL_STATES, service_id, service_of
from nightherd.modeler.v1 import modeler_service_pb2 as pb
from nightherd.store.v1 import store_service_pb2 as store

router = APIRouter(tags=["models"])

SERVICE_QUERY = (*PAGING, "id", "state", "herd", "service")
HOST_QUERY = (
    *PAGING,
    *("id", "os", "state", "imageID", "image", "hostName", "namespace", "cluster"),
)
SETTABLE = {
    **{name: MODEL_STATES[name] for name in ("manualLearning", "manualRelearning", "manualActive")},
    "active": MODEL_STATES["manualActive"],
    "learning": MODEL_STATES["learning"],
}
SERVICE_COLUMNS = (
    *("service", "herd", "state", "revision", "capabilities", "hosts", "firstSeen", "lastSeen"),
    *("unitsObserved", "predictedAlerts", "predictedAlertsBound", "waitingFor", "_id"),
)
Anybody = Depends(reader)


class Learn(BaseModel):
    """Which state a model should have."""

    model_config = ConfigDict(strict=True, extra="forbid")

    state: str = Field(
        description="manualLearning, manualRelearning, manualActive (or active), learning"
    )
    herd: str = Field(default="", max_length=256, description="needed when several herds have it")


def _peers(request: Request) -> Peers:
    peers: Peers = request.app.state.peers
    return peers


def _asked(question: queries.Question, *, brief: bool = False) -> pb.ListModelsRequest:
    services = [*map(service_of, question.all("id")), *question.all("service")]
    unknown = [state for state in question.all("state") if state not in MODEL_STATES]
    if unknown:
        raise ProblemError(
            400, f"state: {unknown[0]!r} is unknown; known are {', '.join(MODEL_STATES)}"
        )
    paging = queries.paging(question)
    return pb.ListModelsRequest(
        herds=question.all("herd"),
        services=services,
        states=[MODEL_STATES[state] for state in question.all("state")],
        search=question.last("search"),
        offset=paging.offset,
        limit=paging.limit,
        brief=brief,
    )


async def _detectors(peers: Peers) -> list[dict[str, Any]]:
    answer = await peers.modeler.ListDetectors(pb.ListDetectorsRequest(), timeout=DEADLINE_S)
    return [{"id": d.detector_id, "revision": d.applied_revision} for d in answer.detectors]


@router.get(
    "/profiles/service",
    openapi_extra=queries.parameters(SERVICE_QUERY),
    dependencies=[Anybody],
)
async def list_services(request: Request) -> Response:
    """Return the models of services: state, what is normal, what activating would cost."""
    question, peers = queries.read(request, SERVICE_QUERY), _peers(request)
    answer = await peers.modeler.ListModels(_asked(question), timeout=DEADLINE_S)
    detectors = await _detectors(peers)
    rows = [queries.project(render.profile(m, detectors), question) for m in answer.models]
    return json_answer(rows, answer.total_count)


@router.get(
    "/profiles/service/download",
    openapi_extra=queries.parameters(SERVICE_QUERY),
    dependencies=[Anybody],
)
async def download_services(request: Request) -> Response:
    """Return the models of services as CSV."""
    question, peers = queries.read(request, SERVICE_QUERY), _peers(request)
    detectors = await _detectors(peers)

    async def parts() -> Any:
        asked = _asked(question)
        asked.offset, asked.limit = 0, 500
        while True:
            answer = await peers.modeler.ListModels(asked, timeout=DEADLINE_S)
            yield answer.models
            asked.offset += len(answer.models)
            if not answer.models or asked.offset >= answer.total_count:
                return

    lines = csv_lines(parts(), SERVICE_COLUMNS, lambda m: render.profile(m, detectors), raw=False)
    return ExactType(lines, "text/csv", "service_profiles.csv")


@router.get("/profiles/service/names", dependencies=[Anybody])
async def service_names(request: Request) -> Response:
    """Return the names of all services that have a model."""
    queries.read(request, ())
    names: set[str] = set()
    offset = 0
    while True:
        asked = pb.ListModelsRequest(offset=offset, limit=1000, brief=True)
        answer = await _peers(request).modeler.ListModels(asked, timeout=DEADLINE_S)
        names.update(model.service for model in answer.models)
        offset += len(answer.models)
        if not answer.models or offset >= answer.total_count:
            return json_answer(sorted(names))


@router.post("/profiles/service/{identifier}/learn")
async def learn(
    request: Request,
    identifier: str,
    wanted: Learn,
    caller: Annotated[Caller, Depends(writer)],
) -> Response:
    """Set a model's state; the answer says which revision detectors must have for it."""
    question = queries.read(request, ("herd",))
    if wanted.state not in SETTABLE:
        raise ProblemError(
            400, f"state: {wanted.state!r} cannot be set; one of {', '.join(SETTABLE)}"
        )
    peers, service = _peers(request), service_of(identifier)
    herd = wanted.herd or question.last("herd") or await _only_herd(peers, service)
    answer = await peers.modeler.SetModelState(
        pb.SetModelStateRequest(
            herd=herd,
            service=service,
            state=SETTABLE[wanted.state],
            changed_by=caller.name,
        ),
        timeout=DEADLINE_S,
    )
    return json_answer(render.profile(answer.model, await _detectors(peers)))


async def _only_herd(peers: Peers, service: str) -> str:
    """Return the only herd that has a model of `service`.

    Raises:
        ProblemError: none has (404), or several have (409).
    """
    answer = await peers.modeler.ListModels(
        pb.ListModelsRequest(services=[service], limit=100, brief=True), timeout=DEADLINE_S
    )
    herds = [model.herd for model in answer.models]
    if not herds:
        raise ProblemError(404, f"No herd has a model of service {service_id(service)}")
    if len(herds) > 1:
        raise ProblemError(409, f"Several herds have it: say which (herd): {', '.join(herds)}")
    return herds[0]


@router.get("/profiles/host", openapi_extra=queries.parameters(HOST_QUERY), dependencies=[Anybody])
async def list_hosts(request: Request) -> Response:
    """Return each host with its services and their models."""
    question, peers = queries.read(request, HOST_QUERY), _peers(request)
    paging = queries.paging(question)
    names = [*question.all("id"), *question.all("hostName")]
    found = await peers.store.ListHosts(
        store.ListHostsRequest(
            hosts=names,
            search=question.last("search"),
            offset=paging.offset,
            limit=paging.limit,
        ),
        timeout=DEADLINE_S,
    )
    ids = [host.host_id for host in found.hosts]
    running: dict[str, list[str]] = {}
    if ids:
        answer = await peers.modeler.ListHostServices(
            pb.ListHostServicesRequest(host_ids=ids, limit=len(ids)), timeout=DEADLINE_S
        )
        running = {host.host_id: list(host.services) for host in answer.hosts}
    rows = [
        queries.project(_host_profile(host, running.get(host.host_id, [])), question)
        for host in found.hosts
    ]
    return json_answer(rows, found.total_count)


def _host_profile(host: store.Host, services: list[str]) -> dict[str, Any]:
    shown = render.host(host)
    return {
        "_id": shown["hostname"] or host.host_id,
        "hostID": host.host_id,
        "herd": shown["herd"],
        "created": shown["firstSeen"],
        "time": shown["lastSeen"],
        "accountID": shown["accountID"],
        # Clients expect exactly these two strings.
        "labels": [f"osDistro:{host.facts.os_id}", f"osVersion:{host.facts.os_version}"],
        "apps": [{"name": service, "profileID": service_id(service)} for service in services],
    }


@router.get("/static/capabilities", dependencies=[Anybody])
async def capabilities(request: Request) -> Response:
    """Return the capabilities that models are made of."""
    queries.read(request, ())
    answer = await _peers(request).modeler.ListCapabilities(
        pb.ListCapabilitiesRequest(), timeout=DEADLINE_S
    )
    return json_answer(
        [
            {
                "name": c.name,
                "description": c.description,
                "programs": list(c.programs),
                "files": list(c.files),
                "sensed": c.sensed,
            }
            for c in answer.capabilities
        ]
    )
