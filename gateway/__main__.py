"""`python -m gateway`: REST and CSV for people, scripts and SIEMs."""

import asyncio

import structlog
import uvicorn

from chassis import logs, mongo
from chassis.counters import serve_metrics
from chassis.settings import load
from chassis.tls import Identity
from gateway.app import create_app
from gateway.auth import Authentication
from gateway.peers import Peers
from gateway.repository import Repository
from gateway.server import HttpsServer, https_context
from gateway.settings import Settings

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    client = mongo.connect(settings.mongo_url.get_secret_value())
    repository = Repository(client[settings.database])
    identity = Identity(settings.tls_dir)
    authentication, peers = Authentication(repository, settings), Peers(settings, identity)
    metrics = serve_metrics(settings.metrics_listen)
    host, _, port = settings.listen.rpartition(":")
    try:
        await mongo.until_reachable(client)
        await repository.prepare()
        await authentication.prepare()
        config = uvicorn.Config(
            create_app(authentication, repository, peers),
            host=host,
            port=int(port),
            ssl_certfile=str(settings.tls_dir / "cert.pem"),
            ssl_keyfile=str(settings.tls_dir / "key.pem"),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.drain_seconds) or 1,
            limit_concurrency=500,
            h11_max_incomplete_event_size=32 << 10,
        )
        log.info("serving", listen=settings.listen)
        await HttpsServer(config, https_context(config), identity).serve()
    finally:
        await peers.close()
        authentication.close()
        client.close()
        if metrics is not None:
            metrics.close()


def main() -> None:
    """Read settings and serve."""
    settings = load(Settings)
    logs.configure("gateway", settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
