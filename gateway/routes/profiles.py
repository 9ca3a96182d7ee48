"""Models of services: what is normal, and how a person steers the learning."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway import bodies, fields, queries, render_models
from gateway.auth import reader, writer
from gateway.peers import DEADLINE_S, Peers
from gateway.problems import ProblemError
from gateway.queries import PAGING, Question
from gateway.repository import User
from gateway.streams import csv_answer, json_answer
from gateway.words import MODEL_STATES, SETTABLE_STATES, service_of
from nightherd.modeler.v1 import model_pb2 as model
from nightherd.modeler.v1 import modeler_service_pb2 as pb

router = APIRouter(tags=["models"])
Reader = Depends(reader)

SERVICE_QUERY = (*PAGING, "id", "state", "herd", "service")
PART = 200
"""Models in one answer of the modeler, for what needs all of them."""


class Learn(BaseModel):
    """Which state a model should have."""

    model_config = ConfigDict(extra="ignore")

    state: str = Field(
        max_length=64,
        description="manualLearning, manualRelearning, manualActive (or active), learning",
    )
    herd: str = Field(default="", max_length=256, description="needed when several herds have it")


def _asked(question: Question, *, brief: bool = False) -> pb.ListModelsRequest:
    if question.last("sort") not in ("", "_id", "service", "herd") or question.flag("reverse"):
        raise ProblemError(400, "sort: models come sorted by herd and service, never otherwise")
    return pb.ListModelsRequest(
        herds=question.all("herd"),
        services=[*map(service_of, question.all("id")), *question.all("service")],
        states=question.words("state", MODEL_STATES),
        search=question.last("search"),
        offset=question.number("offset", 0),
        brief=brief,
    )


async def detectors(peers: Peers) -> list[dict[str, Any]]:
    """Return which detectors work with which revision."""
    asked = pb.ListDetectorsRequest()
    answer = await peers.modeler.ask(lambda stub: stub.ListDetectors(asked, timeout=DEADLINE_S))
    return [{"id": d.detector_id, "revision": d.applied_revision} for d in answer.detectors]


async def all_models(
    peers: Peers, asked: pb.ListModelsRequest
) -> AsyncIterator[list[model.ModelSummary]]:
    """Yield all models from `asked.offset`, in parts."""
    asked.limit = PART
    while True:
        answer = await peers.modeler.ask(lambda stub: stub.ListModels(asked, timeout=DEADLINE_S))
        yield list(answer.models)
        asked.offset += len(answer.models)
        if not answer.models or asked.offset >= answer.total_count:
            return


@router.get(
    "/profiles/service",
    openapi_extra=queries.parameters(SERVICE_QUERY, fields.rows(fields.PROFILE)),
    dependencies=[Reader],
)
async def list_services(request: Request) -> Response:
    """Return the models of services: state, what is normal, which detectors have it."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, SERVICE_QUERY, fields.PROFILE)
    asked = _asked(question)
    asked.limit = question.limit()
    # Before the models: a detector may only be further than is said, never behind.
    known = await detectors(peers)
    answer = await peers.modeler.ask(lambda stub: stub.ListModels(asked, timeout=DEADLINE_S))
    rows = [question.project(render_models.profile(found, known)) for found in answer.models]
    return json_answer(rows, answer.total_count)


@router.get(
    "/profiles/service/download",
    openapi_extra=queries.parameters((*SERVICE_QUERY, "raw"), fields.file(fields.PROFILE)),
    dependencies=[Reader],
)
async def download_services(request: Request) -> Response:
    """Return the models of services as CSV."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, (*SERVICE_QUERY, "raw"), fields.PROFILE)
    asked, known = _asked(question), await detectors(peers)
    left = question.number("limit", 0) or queries.MOST_NUMBER

    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        nonlocal left
        async for part in all_models(peers, asked):
            yield [render_models.profile(found, known) for found in part[:left]]
            left -= len(part)
            if left <= 0:
                return

    columns = fields.columns(fields.PROFILE)
    return await csv_answer(parts(), columns, question, "service_profiles.csv")


@router.get(
    "/profiles/service/names",
    openapi_extra=queries.parameters(SERVICE_QUERY),
    dependencies=[Reader],
)
async def service_names(request: Request) -> Response:
    """Return the names of all services that have a model."""
    peers: Peers = request.app.state.peers
    asked = _asked(queries.read(request, SERVICE_QUERY, fields.PROFILE), brief=True)
    names = {found.service async for part in all_models(peers, asked) for found in part}
    return json_answer(sorted(names))


# `:path` takes ids whose slashes a client encoded as %2F instead of ~1.
@router.post(
    "/profiles/service/{identifier:path}/learn",
    openapi_extra=queries.parameters(
        ("herd",), bodies.described(Learn), fields.one(fields.PROFILE)
    ),
)
async def learn(
    request: Request, identifier: str, user: Annotated[User, Depends(writer)]
) -> Response:
    """Set a model's state; the answer says which revision detectors must have for it."""
    peers: Peers = request.app.state.peers
    question = queries.read(request, ("herd",))
    wanted = await bodies.read(request, Learn)
    service = service_of(identifier)
    request.state.deed = ("profile", f"{service}: state {wanted.state}")
    (state,) = Question({"state": [wanted.state]}).words("state", SETTABLE_STATES)
    if "\0" in service + wanted.herd:
        raise ProblemError(400, "NUL is in no name")
    herd = wanted.herd or question.last("herd") or await _only_herd(peers, service)
    request.state.deed = ("profile", f"{service} in herd {herd}: state {wanted.state}")
    asked = pb.SetModelStateRequest(herd=herd, service=service, state=state, changed_by=user.name)
    answer = await peers.modeler.ask(lambda stub: stub.SetModelState(asked, timeout=DEADLINE_S))
    request.state.deed = (
        "profile",
        f"{service} in herd {herd}: state {wanted.state}, revision {answer.model.revision}",
    )
    return json_answer(render_models.profile(answer.model, await detectors(peers)))


async def _only_herd(peers: Peers, service: str) -> str:
    """Return the only herd that has a model of `service`.

    Raises:
        ProblemError: none has (404), or several have (409).
    """
    asked = pb.ListModelsRequest(services=[service], limit=100, brief=True)
    answer = await peers.modeler.ask(lambda stub: stub.ListModels(asked, timeout=DEADLINE_S))
    herds = [found.herd for found in answer.models]
    if not herds:
        raise ProblemError(404, f"No herd has a model of service {service}")
    if len(herds) > 1:
        raise ProblemError(409, f"Several herds have it: say which (herd): {', '.join(herds)}")
    return herds[0]


@router.get(
    "/static/capabilities",
    openapi_extra=queries.parameters((), fields.rows(fields.CAPABILITY, paged=False)),
    dependencies=[Reader],
)
async def capabilities(request: Request) -> Response:
    """Return the capabilities that models are made of."""
    peers: Peers = request.app.state.peers
    queries.read(request, ())
    asked = pb.ListCapabilitiesRequest()
    answer = await peers.modeler.ask(lambda stub: stub.ListCapabilities(asked, timeout=DEADLINE_S))
    return json_answer([render_models.capability(found) for found in answer.capabilities])
