"""The gateway's application: routes, guards, and one description of the API."""

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from gateway import openapi, problems
from gateway.auth import Authentication, anybody
from gateway.middleware import Guard
from gateway.peers import Peers
from gateway.renderers import Renderers
from gateway.repository import Repository
from gateway.routes import (
    authenticate,
    directives,
    erasures,
    events,
    evidence,
    exports,
    findings,
    host_profiles,
    incidents,
    meta,
    mgmt,
    profiles,
)
from gateway.streams import json_answer

PREFIX = "/api/v1"
ROUTERS = (
    authenticate.router,
    findings.router,
    incidents.router,
    profiles.router,
    host_profiles.router,
    evidence.router,
    erasures.router,
    directives.router,
    events.router,
    exports.router,
    mgmt.router,
    meta.router,
)


def create_app(
    authentication: Authentication, repository: Repository, peers: Peers, renderers: Renderers
) -> FastAPI:
    """Return the application, wired."""
    app = FastAPI(
        title="Nightherd",
        version="1",
        description="Hosts, what is done on them, and what should not be. All times are UTC. "
        "A page has 50 rows unless `limit` asks for up to 250; a larger limit gives 250.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.authentication = authentication
    app.state.repository = repository
    app.state.peers = peers
    app.state.renderers = renderers
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)

    @app.get(f"{PREFIX}/openapi.json", tags=["meta"], dependencies=[Depends(anybody)])
    async def description(_: Request) -> Response:
        """Return this description of the API (OpenAPI 3.1)."""
        return json_answer(openapi.describe(app))

    app.add_middleware(Guard, repository=repository)
    return app
