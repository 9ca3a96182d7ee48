"""`python -m services.store`: keeps the evidence."""

import asyncio
import contextlib

from chassis import logs, mongo
from chassis.counters import MetricsServer, serve_metrics
from chassis.readiness import serve_until
from chassis.server import Server
from chassis.settings import load
from chassis.signals import until_terminated
from chassis.tls import Identity
from nightherd.store.v1 import store_service_pb2
from nightherd.store.v1.store_service_pb2_grpc import add_StoreServiceServicer_to_server
from services.store.appender import Appender
from services.store.custodian import MEGABYTE, Custodian, Pace
from services.store.directing import Directing
from services.store.eraser import Eraser
from services.store.erasing import Erasing
from services.store.events import Events
from services.store.exporting import Exporting
from services.store.heads import Heads
from services.store.incidents import IncidentQuestions
from services.store.keeping import Keeper
from services.store.old_headers import OldHeaders
from services.store.old_incidents import OldIncidents
from services.store.questions import Questions
from services.store.receiving import Receiving
from services.store.repository.aside import Aside
from services.store.repository.batches import Batches
from services.store.repository.candidates import Candidates
from services.store.repository.chains import Chains
from services.store.repository.counts import Counts
from services.store.repository.custody import Custody
from services.store.repository.days import Days
from services.store.repository.directives import Directives
from services.store.repository.findings import Findings
from services.store.repository.header_days import HeaderDays
from services.store.repository.hosts import Hosts
from services.store.repository.incidents import Incidents
from services.store.repository.inserts import Inserts
from services.store.repository.kept import Kept
from services.store.repository.leases import Leases
from services.store.repository.removals import OldFindings, Removals
from services.store.repository.sessions import Sessions
from services.store.repository.walk import Walk
from services.store.retention import Keep, Retention
from services.store.search import Search
from services.store.servicer import Servicer
from services.store.settings import Settings
from services.store.summary import Summary
from services.store.timeline import Timeline
from services.store.trees import Trees


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM.

    Raises:
        SystemExit: no certificate, a port in use, or a URL that is none; the message says which.
    """
    with contextlib.ExitStack() as closing:
        try:
            client = mongo.connect(settings.mongo_url.get_secret_value())
            closing.callback(client.close)
            # Acknowledged means: in the journal, and on a replica set on most members.
            durable = mongo.WriteConcern(w="majority", j=True)
            database = client.get_database(settings.database, write_concern=durable)
            days, chains, hosts = Days(database), Chains(database), Hosts(database)
            batches, inserts = Batches(database), Inserts(database, days)
            incidents = Incidents(database)
            findings = Findings(database, incidents)
            aside, sessions = Aside(database, settings.set_aside_bytes), Sessions(database)
            directives = Directives(database)
            removals, old_findings = Removals(database), OldFindings(database)
            kept = Kept(database)
            keeper = Keeper(incidents, kept, removals, settings.incident_bytes)
            eraser = Eraser(removals, hosts, keeper)
            header_days = HeaderDays(database, days)
            appender = Appender(inserts, chains, hosts, findings, sessions, settings.group_batches)
            candidates = Candidates(database, days)
            search = Search(batches, candidates, hosts, sessions)
            counts = Counts(database, candidates, days)
            servicer = Servicer(
                Receiving(appender, chains, hosts, aside, directives),
                findings,
                Questions(batches, chains, hosts, findings, aside, removals),
                IncidentQuestions(incidents, kept, hosts),
                Events(
                    search,
                    Summary(search, batches, candidates, counts),
                    Timeline(search, findings, incidents, hosts),
                    Trees(search, batches, candidates),
                ),
                Exporting(search, Walk(database, days), batches, chains, hosts),
                Erasing(eraser, hosts, aside),
                Directing(directives, hosts),
            )
            retention = Retention(
                _kept(settings),
                removals,
                eraser,
                old_findings,
                OldIncidents(incidents, kept, removals, eraser),
                OldHeaders(header_days, chains, kept, removals, eraser),
                sessions,
                Leases(database),
            )
            custody = Custody(database, days)
            leases = Leases(database)
            custodian = Custodian(custody, batches, removals, hosts, findings, leases)
            pace = Pace(settings.custody_seconds, settings.scrub_mb_per_second * MEGABYTE)
            heads = Heads(chains, settings.heads_file) if settings.heads_file else None
            server, metrics = _listening(settings, servicer)
        except (OSError, RuntimeError, ValueError, mongo.PyMongoError) as error:
            raise SystemExit(f"store: cannot start: {error}") from error
        if metrics is not None:
            closing.callback(metrics.close)
        tasks = [
            asyncio.create_task(appender.run()),
            asyncio.create_task(retention.run(settings.retention_seconds)),
            asyncio.create_task(custodian.run(pace)),
        ]
        if heads is not None:
            tasks.append(asyncio.create_task(heads.run(settings.heads_seconds)))
        try:
            async with server:
                parts = (chains, hosts, findings, aside, sessions, days)
                more = (removals, old_findings, incidents, kept)
                await serve_until(until_terminated(), server, client, (*parts, *more))
                servicer.stop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _kept(settings: Settings) -> Keep:
    return Keep(
        settings.evidence_days,
        settings.activities_days,
        settings.alerts_days,
        settings.incident_days,
        settings.headers_days,
        settings.host_bytes,
    )


def _listening(settings: Settings, servicer: Servicer) -> tuple[Server, MetricsServer | None]:
    server = Server(
        settings.listen,
        Identity(settings.tls_dir),
        [store_service_pb2.DESCRIPTOR.services_by_name["StoreService"]],
        lambda grpc_server: add_StoreServiceServicer_to_server(servicer, grpc_server),
        drain_s=settings.drain_seconds,
        reflect=settings.reflection,
    )
    return server, serve_metrics(settings.metrics_listen)


def main() -> None:
    """Read settings and serve."""
    settings = load(Settings)
    logs.configure("store", settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
