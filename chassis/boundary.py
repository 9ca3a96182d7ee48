"""The one place where a caller is let in and an exception becomes a status and a log line."""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from grpc import StatusCode, aio
from grpc_status import rpc_status
from structlog.contextvars import bound_contextvars

from chassis import access, tls
from chassis.counters import Counter
from chassis.errors import NightherdError, to_status

log = structlog.get_logger()

ARITIES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
# Health and reflection say nothing about the fleet, and probes cannot do mTLS roles.
OPEN = ("/grpc.health.", "/grpc.reflection.")

rpcs = Counter("nightherd_rpcs", "RPCs that ended", ["method", "status"])


class Boundary(aio.ServerInterceptor):
    """Checks the caller's role and runs every RPC inside `boundary`."""

    def __init__(self, allowed: Mapping[str, frozenset[str]]) -> None:
        """Enforce `allowed`: method path -> roles."""
        self._allowed = allowed

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of the method that is called."""
        handler = await continuation(handler_call_details)
        if handler is None:  # unknown method: grpc answers UNIMPLEMENTED
            return None
        arity = next(name for name in ARITIES if getattr(handler, name))
        method = str(handler_call_details.method)
        return handler._replace(**{arity: self._bounded(getattr(handler, arity), method)})

    def _admit(self, method: str, context: Any) -> None:
        if not method.startswith(OPEN):
            access.check(self._allowed, method, tls.peer(context))

    def _bounded(self, handle: Callable[..., Any], method: str) -> Callable[..., Any]:
        # grpc.aio accepts two shapes of streaming handler: async generators, and
        # coroutines that call context.write (the stock health service does).
        if inspect.isasyncgenfunction(handle):

            async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
                async with boundary(method, context):
                    self._admit(method, context)
                    async for response in handle(request, context):
                        yield response

            return generate

        async def call(request: Any, context: Any) -> Any:
            async with boundary(method, context):
                self._admit(method, context)
                return await handle(request, context)

        return call


@asynccontextmanager
async def boundary(method: str, context: Any) -> AsyncIterator[None]:
    """Map what escapes the handler to a status; write one canonical log line."""
    started = time.perf_counter()
    status: str = "OK"
    fields: dict[str, Any] = {}
    with bound_contextvars(rpc=method):
        try:
            yield
        except NightherdError as error:
            status, fields = error.code.name, {"reason": error.reason, "detail": str(error)}
            await context.abort_with_status(rpc_status.to_status(to_status(error)))
        except aio.AbortError:
            status = str(context.code())
            raise
        except Exception:  # noqa: BLE001  (this is the boundary: nothing escapes it)
            status, fields = "INTERNAL", {"exc_info": True}
            await context.abort(StatusCode.INTERNAL, "internal error; the server's log has more")
        except BaseException:  # cancelled by the client or by shutdown
            status = "CANCELLED"
            raise
        finally:
            ms = round((time.perf_counter() - started) * 1000, 2)
            rpcs.labels(method, status).inc()
            write = log.debug if method.startswith(OPEN) else log.info
            write("rpc", status=status, ms=ms, **fields)
