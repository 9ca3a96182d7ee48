"""`python -m gateway`: REST and CSV for people, scripts and SIEMs."""

import asyncio
import contextlib

import structlog

from chassis import logs, mongo
from chassis.counters import serve_metrics
from chassis.https import listening, serving
from chassis.settings import load
from chassis.signals import until_terminated
from chassis.tls import Identity
from gateway.app import create_app
from gateway.auth import Authentication
from gateway.peers import Peers
from gateway.readiness import prepare
from gateway.renderers import Renderers
from gateway.repository import Repository
from gateway.settings import Settings

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM.

    Raises:
        SystemExit: no certificate, a port in use, or a URL that is none; the message says which.
    """
    async with contextlib.AsyncExitStack() as closing:
        try:
            client = mongo.connect(settings.mongo_url.get_secret_value())
            closing.callback(client.close)
            repository = Repository(client[settings.database])
            peers = Peers(settings, Identity(settings.tls_dir))
            closing.push_async_callback(peers.close)
            authentication = Authentication(repository, settings)
            closing.callback(authentication.close)
            renderers = Renderers(settings.export_processes)
            closing.push_async_callback(renderers.close)
            app = create_app(authentication, repository, peers, renderers)
            if (metrics := serve_metrics(settings.metrics_listen)) is not None:
                closing.callback(metrics.close)
            sock = closing.enter_context(listening(settings.listen))
            https = serving(
                app,
                sock,
                settings.certificate(),
                drain_s=settings.drain_seconds,
                check_s=settings.renewal_check_seconds,
            )
            await closing.enter_async_context(https)
        except (OSError, ValueError, mongo.PyMongoError) as error:
            raise SystemExit(f"gateway: cannot start: {error}") from error
        preparing = asyncio.create_task(prepare(client, repository, authentication))
        closing.callback(preparing.cancel)
        log.info("serving", port=sock.getsockname()[1])
        await until_terminated()
        log.info("draining")


def main() -> None:
    """Read settings and serve."""
    settings = load(Settings)
    logs.configure("gateway", settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
