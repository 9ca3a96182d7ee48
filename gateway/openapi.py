"""The description of the API, as far as FastAPI does not make it by itself."""

from typing import Any

from fastapi import FastAPI

_PROBLEM = {
    "description": "a problem (RFC 9457)",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "reason": {"type": "string", "description": "UPPER_CASE, to switch on"},
                    "peer": {"type": "string", "description": "which service failed"},
                },
            }
        }
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`."""
    document = app.openapi()
    schemes = {
        "basic": {"type": "http", "scheme": "basic"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }
    document["components"] = {"securitySchemes": schemes, "responses": {"problem": _PROBLEM}}
    document["security"] = [{"basic": []}, {"bearer": []}]
    for operations in document["paths"].values():
        for operation in operations.values():
            # Whatever is wrong with a request is a problem, never FastAPI's own 422.
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"$ref": "#/components/responses/problem"}
    return document
