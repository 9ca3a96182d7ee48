"""What a program may refuse, and how each refusal looks on the wire."""

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

DOMAIN = "nightherd"


class NightherdError(Exception):
    """A refusal that a caller can act on. Subclass once per reason.

    Attributes:
        code: the gRPC status it becomes.
        reason: UPPER_SNAKE_CASE, unique over all subclasses; clients may switch on it.
        metadata: further facts for the client; keys and values are text.
    """

    code: ClassVar[StatusCode] = StatusCode.UNKNOWN
    reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, **metadata: str) -> None:
        """State in one sentence what was refused and what to do about it."""
        super().__init__(message)
        self.metadata: Mapping[str, str] = metadata


class InvalidArgumentError(NightherdError):
    """The request can never succeed as it is."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"


class NotFoundError(NightherdError):
    """The named thing does not exist (yet)."""

    code = StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class PermissionDeniedError(NightherdError):
    """The caller's role may not do this."""

    code = StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class UnauthenticatedError(NightherdError):
    """The caller did not prove who it is."""

    code = StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class FailedPreconditionError(NightherdError):
    """The thing is in a state in which this cannot be done."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class ResourceExhaustedError(NightherdError):
    """A limit is reached; try again later or ask for less."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class UnavailableError(NightherdError):
    """Something this program needs does not answer; try again later."""

    code = StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


def to_status(error: NightherdError) -> Status:
    """Render `error` as google.rpc.Status with one ErrorInfo detail (AIP-193)."""
    detail = Any()
    detail.Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    return Status(code=error.code.value[0], message=str(error), details=[detail])
