"""Names of hosts, for people: as the hosts say themselves, else as the store knows them."""

import structlog

from chassis.mongo import PyMongoError
from nightherd.event.v1 import event_pb2 as events
from services.detector.peers import Store
from services.detector.repository import Repository

log = structlog.get_logger()


class Hostnames:
    """host id -> name, kept in the repository."""

    def __init__(self, repository: Repository, store: Store) -> None:
        """Keep in `repository`; ask `store` for what nobody said here."""
        self._repository, self._store = repository, store
        self._names: dict[str, str] = {}

    def of(self, host_id: str) -> str:
        """Return the name of a host; "" when it is not known."""
        return self._names.get(host_id, "")

    async def find(self, host_id: str) -> None:
        """Look a name up that is not known yet."""
        if host_id not in self._names:
            name = await self._repository.hostname(host_id) or await self._store.hostname(host_id)
            if name:
                self._names[host_id] = name

    async def learn(self, host_id: str, body: events.EventBatch) -> None:
        """Take the name that a batch says."""
        for event in body.events:
            if event.HasField("host_facts"):
                name = event.host_facts.hostname
                if name and self._names.get(host_id) != name:
                    self._names[host_id] = name
                    try:
                        await self._repository.name_host(host_id, name)
                    except PyMongoError as error:  # it is said again at the agent's next start
                        log.warning("host name not kept", host=host_id, error=str(error)[:200])
