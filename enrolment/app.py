"""The enrolment program's application: four routes, bounded bodies, bounded rates."""

import asyncio
import base64
import json
import math
from typing import Any

import structlog
from fastapi import Depends, FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from chassis.counters import Counter
from chassis.text import show
from enrolment import problems
from enrolment.checks import Renewal
from enrolment.errors import BodyError, OversizeError, SlowBodyError, TooOftenError
from enrolment.issuer import Issuer
from enrolment.rates import Rates

log = structlog.get_logger()
given = Counter("nightherd_enrolment_certificates", "Certificates that were given", ["why"])
MOST_BODY_BYTES = 16 << 10
BODY_S = 10.0


def create_app(issuer: Issuer, rates: Rates) -> FastAPI:
    """Return the application, wired."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    problems.install(app)

    async def not_too_often(request: Request) -> None:
        wait_s = rates.wait_s(_address(request))
        if wait_s:
            retry_s = math.ceil(wait_s)
            raise TooOftenError(f"Wait {retry_s} s before you ask again", retry_s=str(retry_s))

    slowly = [Depends(not_too_often)]

    @app.get("/v1/authority")
    async def authority() -> Response:
        """Return the authority's certificate; whoever takes it compares its fingerprint."""
        return Response(issuer.authority_pem, media_type="application/x-pem-file")

    @app.get("/v1/nonce", dependencies=slowly)
    async def nonce() -> Response:
        return _answer({"nonce": issuer.nonces.give()})

    @app.post("/v1/renew", dependencies=slowly)
    async def renew(request: Request) -> Response:
        said = await _fields(request, "certificate", "csr", "nonce", "proof")
        proof = _base64(said["proof"])
        host, answer = issuer.renew(
            Renewal(said["certificate"].encode(), said["csr"].encode(), said["nonce"], proof)
        )
        given.labels("renewal").inc()
        log.info("renewed", host=host, address=_address(request))
        return _answer(answer)

    @app.post("/v1/enrol", dependencies=slowly)
    async def enrol(request: Request) -> Response:
        said = await _fields(request, "token", "csr", "signing_key", "hostname")
        host, answer = issuer.enrol(said["token"], said["csr"].encode(), said["signing_key"])
        given.labels("enrolment").inc()
        hostname = show(said["hostname"][:253])
        log.info("enrolled", host=host, hostname=hostname, address=_address(request))
        return _answer(answer)

    return app


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _answer(document: dict[str, str]) -> Response:
    return JSONResponse(document, headers={"Cache-Control": "no-store"})


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BodyError("proof: not base64") from None


async def _fields(request: Request, *names: str) -> dict[str, str]:
    """Return the fields `names`, all of them text, of a JSON body.

    Raises:
        OversizeError: more than MOST_BODY_BYTES.
        SlowBodyError: it does not come within BODY_S.
        BodyError: no JSON object, or a field is missing or no text.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                content += part
                if len(content) > MOST_BODY_BYTES:
                    raise OversizeError(f"A body may have {MOST_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise BodyError("The body broke off") from None
    except TimeoutError:
        raise SlowBodyError(f"A body must come within {BODY_S:.0f} s") from None
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise BodyError("The body is no JSON") from None
    if not isinstance(document, dict):
        raise BodyError("The body must be a JSON object")
    return {name: _text(document, name) for name in names}


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise BodyError(f"{name}: text is needed")
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate is JSON, and no text
        raise BodyError(f"{name}: text is needed") from None
    return value
