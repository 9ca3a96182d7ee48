"""`python -m services.modeler`: learns what is normal."""

import asyncio
import contextlib

from chassis import logs, mongo
from chassis.counters import serve_metrics
from chassis.readiness import serve_until
from chassis.server import Server
from chassis.settings import load
from chassis.signals import until_terminated
from chassis.tls import Identity
from nightherd.modeler.v1 import modeler_service_pb2
from nightherd.modeler.v1.modeler_service_pb2_grpc import add_ModelerServiceServicer_to_server
from services.modeler.caretaker import Caretaker
from services.modeler.domain.calendar import Calendar
from services.modeler.domain.lifecycle import Rule
from services.modeler.knowledge import Knowledge
from services.modeler.learner import Learner
from services.modeler.receiving import Receiving
from services.modeler.repository.chains import Chains
from services.modeler.repository.detectors import Detectors
from services.modeler.repository.lessons import Lessons
from services.modeler.repository.models import Models
from services.modeler.repository.sights import Sights
from services.modeler.servicer import Servicer
from services.modeler.settings import Settings
from services.modeler.watching import Watching


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    client = mongo.connect(settings.mongo_url.get_secret_value())
    database = client[settings.database]
    calendar = Calendar(settings.unit_seconds, settings.span_seconds)
    rule = Rule(settings.new_stories_a_span)
    lessons, models, chains = Lessons(database), Models(database), Chains(database)
    sights, detectors = Sights(database), Detectors(database)
    learner = Learner(lessons, models, chains, settings.known_behaviours)
    caretaker = Caretaker(database, models, lessons, calendar, rule)
    knowledge = Knowledge(models, lessons, sights)
    watching = Watching(models, knowledge, detectors)
    receiving = Receiving(learner, chains, calendar)
    servicer = Servicer(receiving, knowledge, watching, models, sights, detectors, rule)
    server = Server(
        settings.listen,
        Identity(settings.tls_dir),
        [modeler_service_pb2.DESCRIPTOR.services_by_name["ModelerService"]],
        lambda grpc_server: add_ModelerServiceServicer_to_server(servicer, grpc_server),
        drain_s=settings.drain_seconds,
        reflect=settings.reflection,
    )
    metrics = serve_metrics(settings.metrics_listen)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in (learner, caretaker)]
            async with server:
                await serve_until(until_terminated(), server, client, (lessons, models))
                watching.close()
            for task in tasks:
                task.cancel()
    finally:
        with contextlib.suppress(mongo.PyMongoError):
            await caretaker.leave()
        client.close()
        if metrics is not None:
            metrics.close()


def main() -> None:
    """Read settings and serve."""
    settings = load(Settings)
    logs.configure("modeler", settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
