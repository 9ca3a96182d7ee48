"""What people ask of agents: further paths to watch, a lower level."""

import structlog

from nightherd.store.v1 import store_service_pb2 as pb
from services.store import naming
from services.store.repository.directives import Directives
from services.store.repository.filters import QueryError
from services.store.repository.hosts import Hosts

log = structlog.get_logger()
MOST_PATHS, MOST_PATH_BYTES = 200, 4096
MOST_NAME = 256


class Directing:
    """Takes what is asked, and tells it."""

    def __init__(self, directives: Directives, hosts: Hosts) -> None:
        """Keep it in `directives`."""
        self._directives, self._hosts = directives, hosts

    async def set(self, asked: pb.SetDirectiveRequest) -> pb.SetDirectiveResponse:
        """Ask something of a host or a herd.

        Raises:
            HostUnknownError: no such host.
            QueryError: of nobody, or paths that no agent would watch, or too much.
        """
        record = asked.record
        whom = record.WhichOneof("whom")
        if whom is None or not 1 <= len(getattr(record, whom)) <= MOST_NAME:
            raise QueryError(f"name a host or a herd, 1 to {MOST_NAME} characters")
        paths = record.directive.watch_paths
        if len(paths) > MOST_PATHS:
            raise QueryError(f"at most {MOST_PATHS} paths; name a folder instead of its files")
        for path in paths:
            if not path.startswith(b"/") or b"\0" in path or len(path) > MOST_PATH_BYTES:
                raise QueryError(f"a path is absolute and has at most {MOST_PATH_BYTES} bytes")
        if whom == "host_id" and not await self._hosts.known([record.host_id]):
            raise naming.unknown(record.host_id)
        if not await self._directives.set(record):
            raise QueryError("too much is asked already: ask herds, and name folders")
        log.info("directive", whom=getattr(record, whom), by=record.entered_by, paths=len(paths))
        return pb.SetDirectiveResponse()

    async def all(self) -> pb.ListDirectivesResponse:
        """Return everything that is asked."""
        return pb.ListDirectivesResponse(records=await self._directives.all())
