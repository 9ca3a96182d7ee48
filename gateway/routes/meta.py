"""Whether the gateway is there, and which version it is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway import queries
from gateway.auth import Authentication, anybody
from gateway.problems import ProblemError
from gateway.streams import json_answer

router = APIRouter(tags=["meta"])


@router.get("/_ping", openapi_extra={"security": []})
async def ping(request: Request) -> Response:
    """Answer OK when requests can be answered; no credentials needed."""
    authentication: Authentication = request.app.state.authentication
    if not authentication.ready:
        raise ProblemError(503, "The gateway's database does not answer yet; try again")
    return Response(b"OK", media_type="text/plain")


@router.get("/version", dependencies=[Depends(anybody)])
async def version(request: Request) -> Response:
    """Return the version."""
    queries.read(request, ())
    try:
        found = installed_version("nightherd")
    except PackageNotFoundError:
        found = "0.1.0+checkout"
    return json_answer(found)
