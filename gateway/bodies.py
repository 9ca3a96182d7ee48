"""JSON bodies of requests: bounded, and read by one strict parser."""

from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.problems import ProblemError

Some = TypeVar("Some", bound=BaseModel)


async def read(request: Request, model: type[Some]) -> Some:
    """Return the body of `request` as `model`; clients may leave the content type out.

    Raises:
        ProblemError: 400; no JSON (too deep and lone surrogates included), or not of this shape.
    """
    content = await request.body()
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ProblemError(400, "The body is no JSON") from None
    if not isinstance(document, dict):
        raise ProblemError(400, "The body must be a JSON object")
    try:
        return model.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProblemError(400, f"{where}: {first['msg']}") from None


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a body."""
    schema = model.model_json_schema()
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }
