"""From what the modeler owns to messages."""

from collections.abc import Iterable

from behaviour.behaviours import Behaviour
from behaviour.capabilities import Capability
from chassis.clock import NS, to_timestamp
from nightherd.modeler.v1 import model_pb2 as pb
from nightherd.modeler.v1 import modeler_service_pb2 as service_pb
from services.modeler.domain.lifecycle import Rule
from services.modeler.knowledge import Portrait
from services.modeler.repository.sights import HostServices

PAGE_BYTES = 6 << 20


def summary(portrait: Portrait, rule: Rule) -> pb.ModelSummary:
    """Return a model as people get it."""
    standing, seen = portrait.standing, portrait.seen
    return pb.ModelSummary(
        herd=standing.herd,
        service=standing.service,
        state=standing.state,
        revision=standing.revision,
        behaviours=[_behaviour(b) for b in portrait.behaviours],
        candidates=[_behaviour(b) for b in portrait.candidates],
        first_seen_time=to_timestamp(seen.first * NS) if seen.host_ids else None,
        last_seen_time=to_timestamp(seen.last * NS) if seen.host_ids else None,
        state_time=to_timestamp(standing.state_ns),
        host_ids=seen.host_ids,
        units_observed=standing.maturity.spans,
        predicted_alerts=standing.maturity.predicted,
        predicted_alerts_bound=standing.maturity.bound,
        changed_by=standing.changed_by,
        waiting_for=rule.waiting_for(standing.state, standing.maturity),
    )


def page(portraits: Iterable[Portrait], total: int, rule: Rule) -> service_pb.ListModelsResponse:
    """Return a page of models; it ends early rather than outgrow a message."""
    found, size = service_pb.ListModelsResponse(total_count=total), 0
    for portrait in portraits:
        model = summary(portrait, rule)
        size += model.ByteSize()
        if found.models and size > PAGE_BYTES:
            break
        found.models.append(model)
    return found


def _behaviour(behaviour: Behaviour) -> pb.Behaviour:
    return pb.Behaviour(facet=behaviour.facet, subject=behaviour.subject)


def capability(entry: Capability) -> pb.Capability:
    """Return a capability as it travels."""
    return pb.Capability(
        name=entry.name,
        description=entry.description,
        programs=entry.programs,
        files=entry.files,
        sensed=entry.sensed,
    )


def host_services(host: HostServices) -> service_pb.ListHostServicesResponse.HostServices:
    """Return the services of a host as they travel."""
    return service_pb.ListHostServicesResponse.HostServices(
        host_id=host.host_id, herd=host.herd, services=host.services
    )
