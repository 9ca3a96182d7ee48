"""The gateway's application: routes, guards, and one description of the API."""

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from gateway import problems
from gateway.auth import Authentication, reader
from gateway.middleware import Guard
from gateway.peers import Peers
from gateway.repository import Repository
from gateway.routes import authenticate, findings, meta, nightherd, profiles
from gateway.streams import json_answer

PREFIX = "/api/v1"
ROUTERS = (
    authenticate.router,
    findings.router,
    profiles.router,
    nightherd.router,
    meta.router,
)


def create_app(authentication: Authentication, repository: Repository, peers: Peers) -> FastAPI:
    """Return the application, wired."""
    app = FastAPI(
        title="Nightherd",
        version="1",
        description="Hosts, what is done on them, and what should not be. All times are UTC.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.authentication = authentication
    app.state.repository = repository
    app.state.peers = peers
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)

    @app.get(f"{PREFIX}/openapi.json", tags=["meta"], dependencies=[Depends(reader)])
    async def openapi(_: Request) -> Response:
        """Return this description of the API (OpenAPI 3.1)."""
        return json_answer(_described(app))

    app.add_middleware(Guard, repository=repository)
    return app


def _described(app: FastAPI) -> dict[str, object]:
    document = app.openapi()
    document["components"].setdefault("securitySchemes", {}).update(
        {
            "basic": {"type": "http", "scheme": "basic"},
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        }
    )
    document["security"] = [{"basic": []}, {"bearer": []}]
    return document
