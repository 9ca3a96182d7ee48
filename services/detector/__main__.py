"""`python -m services.detector`: judges what hosts do."""

import asyncio
import secrets
import socket
from functools import partial

from chassis import logs, mongo
from chassis.channel import Channel
from chassis.counters import serve_metrics
from chassis.readiness import serve_until
from chassis.server import Server
from chassis.settings import load
from chassis.signals import until_terminated
from chassis.tls import Identity
from nightherd.detector.v1 import detector_service_pb2
from nightherd.detector.v1.detector_service_pb2_grpc import add_DetectorServiceServicer_to_server
from services.detector.hostnames import Hostnames
from services.detector.inspecting import Inspector, Stream
from services.detector.peers import ModelWatch, Store
from services.detector.policies import Policies
from services.detector.progress import Progress
from services.detector.repository import Repository
from services.detector.servicer import Servicer
from services.detector.settings import Settings
from services.detector.tasks import running


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    identity = Identity(settings.tls_dir)
    to_modeler = Channel(settings.modeler, identity, "modeler")
    to_store = Channel(settings.store, identity, "store")
    client = mongo.connect(settings.mongo_url.get_secret_value())
    repository = Repository(client[settings.database])
    watch = ModelWatch(to_modeler, f"{socket.gethostname()}-{secrets.token_hex(4)}")
    store, policies = Store(to_store), Policies(repository)
    progress = Progress(repository, settings.settle_seconds)
    inspector = Inspector(watch, store, policies, Hostnames(repository, store))
    servicer = Servicer(partial(Stream, inspector, repository, progress))
    server = Server(
        settings.listen,
        identity,
        [detector_service_pb2.DESCRIPTOR.services_by_name["DetectorService"]],
        lambda grpc_server: add_DetectorServiceServicer_to_server(servicer, grpc_server),
        drain_s=settings.drain_seconds,
        reflect=settings.reflection,
    )
    metrics = serve_metrics(settings.metrics_listen)
    try:
        # Left in reverse: calls in flight end, then what is settled is written, then all closes.
        async with running(watch.run(), policies.run(), progress.run()), server:
            stop = asyncio.ensure_future(until_terminated())
            await watch.until_complete(stop)
            await serve_until(stop, server, client, [repository])
    finally:
        client.close()
        await to_modeler.close()
        await to_store.close()
        if metrics is not None:
            metrics.close()


def main() -> None:
    """Read settings and serve."""
    settings = load(Settings)
    logs.configure("detector", settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
