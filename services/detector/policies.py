"""The policy of each herd, read again now and then."""

import asyncio
from typing import Any

import structlog

from chassis.mongo import PyMongoError
from services.detector import packaged
from services.detector.domain import policy
from services.detector.domain.policy import Policy
from services.detector.engine import Rules
from services.detector.repository import Repository

log = structlog.get_logger()
READ_S = 10.0


class Policies:
    """Herd -> rules; the packaged default where a herd has no policy of its own."""

    def __init__(self, repository: Repository) -> None:
        """Read from `repository`."""
        self._repository = repository
        self._default = Rules(packaged.table(), packaged.default_policy())
        self._own: dict[str, Rules] = {}
        self._documents: dict[str, Any] = {}

    def of(self, herd: str) -> Rules:
        """Return the rules in force for a herd."""
        return self._own.get(herd, self._default)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self.read()
            except PyMongoError as error:
                log.warning("policies not read", error=str(error)[:200])
            await asyncio.sleep(READ_S)

    async def read(self) -> None:
        """Read all policies; one that is not as it should be leaves the one before in force."""
        documents = await self._repository.policies()
        for herd in self._own.keys() - documents.keys():
            del self._own[herd]
        for herd, document in documents.items():
            if self._documents.get(herd) == document:
                continue
            parsed = _parsed(herd, document)
            if parsed is not None:
                self._own[herd] = Rules(packaged.table(), parsed)
        self._documents = documents


def _parsed(herd: str, document: dict[str, Any]) -> Policy | None:
    try:
        return policy.parse({**packaged.document("policy.yaml"), **document})
    except (KeyError, TypeError, ValueError) as error:
        log.warning("policy refused", herd=herd, error=repr(error))
        return None
