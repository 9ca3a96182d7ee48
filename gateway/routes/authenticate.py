"""Bearer tokens for a name and a password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway import bodies, queries
from gateway.auth import Authentication, address_of, anybody
from gateway.problems import ProblemError
from gateway.repository import Deed, Repository, User
from gateway.streams import json_answer

router = APIRouter(tags=["authentication"])


class Credentials(BaseModel):
    """Who logs in. Further keys, which other clients send, mean nothing."""

    username: str = Field(max_length=1024, description="name of the user")
    password: str = Field(max_length=1024, description="password of the user")


_TOKEN = {
    "responses": {
        "200": {
            "description": "a token",
            "content": {
                "application/json": {
                    "schema": {"type": "object", "properties": {"token": {"type": "string"}}}
                }
            },
        }
    }
}


@router.post(
    "/authenticate",
    openapi_extra={**bodies.described(Credentials), **_TOKEN, "security": []},
)
async def authenticate(request: Request) -> Response:
    """Return a bearer token; it is good for 30 minutes unless set otherwise."""
    queries.read(request, ())
    authentication: Authentication = request.app.state.authentication
    repository: Repository = request.app.state.repository
    said = await bodies.read(request, Credentials)
    address = address_of(request)
    user = await authentication.check(said.username, said.password, address)
    await repository.record(Deed(user.name, "login", address, "authenticate", 200))
    return json_answer({"token": authentication.tokens.issue(user)})


@router.get("/authenticate/renew", openapi_extra=_TOKEN)
async def renew(request: Request, user: Annotated[User, Depends(anybody)]) -> Response:
    """Return a fresh token for whoever has good credentials."""
    queries.read(request, ())
    authentication: Authentication = request.app.state.authentication
    return json_answer({"token": authentication.tokens.issue(user)})


@router.delete("/authenticate", dependencies=[Depends(anybody)])
async def log_out(request: Request) -> Response:
    """Revoke the bearer token of this request."""
    queries.read(request, ())
    authentication: Authentication = request.app.state.authentication
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise ProblemError(400, "Only a bearer token can be revoked")
    request.state.deed = ("login", "token revoked")
    await authentication.tokens.revoke(token.strip())
    return json_answer({})
