"""HTTPS whose certificate follows renewals of its files."""

import asyncio
import ssl
from contextlib import suppress

import structlog
import uvicorn

from chassis.tls import CERT_FILE, KEY_FILE, Identity

log = structlog.get_logger()
CHECK_S = 30.0


def https_context(config: uvicorn.Config) -> ssl.SSLContext:
    """Load `config` and return the TLS context it will serve with."""
    config.load()
    if config.ssl is None:
        raise ValueError("HTTPS needs a certificate")
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config.ssl


class HttpsServer(uvicorn.Server):
    """uvicorn, reloading the certificate when it was renewed."""

    def __init__(self, config: uvicorn.Config, context: ssl.SSLContext, identity: Identity) -> None:
        """Serve `config`; new connections get the certificate in force."""
        super().__init__(config)
        self._context, self._identity = context, identity

    async def serve(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Serve until SIGTERM or SIGINT."""
        following = asyncio.create_task(self._follow())
        try:
            await super().serve(sockets)  # type: ignore[arg-type]
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        seen = self._identity.stamp()
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                now = self._identity.stamp()
                if now == seen:
                    continue
                folder = self._identity.folder
                self._context.load_cert_chain(folder / CERT_FILE, folder / KEY_FILE)
            except (OSError, ssl.SSLError) as error:
                log.warning("certificate not reloaded; trying again", error=str(error))
                continue
            seen = now
            log.info("certificate reloaded")
