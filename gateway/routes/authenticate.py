"""POST /authenticate: a bearer token for a name and a password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.auth import Authentication, Caller, address_of, reader
from gateway.repository import Deed
from gateway.streams import json_answer

router = APIRouter(tags=["authentication"])


class Credentials(BaseModel):
    """Who logs in."""

    model_config = ConfigDict(strict=True)

    username: str = Field(max_length=256)
    password: str = Field(max_length=1024)


@router.post("/authenticate")
async def authenticate(request: Request, credentials: Credentials) -> Response:
    """Return a bearer token; it is good for 30 minutes unless set otherwise."""
    authentication: Authentication = request.app.state.authentication
    address = address_of(request)
    caller = await authentication.check(credentials.username, credentials.password, address)
    await request.app.state.repository.record(
        Deed(caller.name, "login", address, "authenticate", 200)
    )
    return json_answer({"token": authentication.token(caller)})


@router.get("/authenticate/renew")
async def renew(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
    """Return a fresh token for whoever has good credentials."""
    authentication: Authentication = request.app.state.authentication
    return json_answer({"token": authentication.token(caller)})
