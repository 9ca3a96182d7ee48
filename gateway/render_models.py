"""Models of services as JSON objects (the contract has no words for most of it)."""

from typing import Any

from chassis.text import show
from gateway import words
from gateway.render import COLLECTIONS, behaviour, moment
from nightherd.modeler.v1 import model_pb2 as model
from nightherd.store.v1 import store_service_pb2 as store


def profile(summary: model.ModelSummary, detectors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model of a service, with what each of `detectors` ({id, revision}) works with."""
    by_facet: dict[str, list[str]] = {}
    for found in summary.behaviours:
        by_facet.setdefault(words.FACETS[found.facet], []).append(show(found.subject))
    return {
        "_id": words.service_id(summary.service),
        "service": show(summary.service),
        "herd": show(summary.herd),
        "state": words.MODEL_WORDS.get(summary.state, ""),
        "revision": summary.revision,
        "capabilities": sorted(by_facet.get("obtains", [])),
        "behaviours": {facet: sorted(subjects) for facet, subjects in sorted(by_facet.items())},
        "candidates": [behaviour(found) for found in summary.candidates],
        "hosts": list(summary.host_ids),
        "firstSeen": moment(summary, "first_seen_time"),
        "lastSeen": moment(summary, "last_seen_time"),
        "stateTime": moment(summary, "state_time"),
        "unitsObserved": summary.units_observed,
        "predictedAlerts": round(summary.predicted_alerts, 3),
        "predictedAlertsBound": round(summary.predicted_alerts_bound, 3),
        "waitingFor": list(summary.waiting_for),
        "changedBy": show(summary.changed_by),
        "detectors": detectors,
        "appliedEverywhere": bool(detectors)
        and all(each["revision"] >= summary.revision for each in detectors),
    }


def host_profile(found: store.Host, apps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a host with its services."""
    facts = found.facts
    return {
        "_id": show(facts.hostname or found.host_id),
        "hostID": found.host_id,
        "herd": show(found.herd),
        "created": moment(found, "first_seen_time"),
        "time": moment(found, "last_seen_time"),
        "accountID": show(facts.cloud_account),
        "cluster": show(facts.cluster),
        "collections": COLLECTIONS,
        # Clients expect exactly these two strings.
        "labels": [f"osDistro:{show(facts.os_id)}", f"osVersion:{show(facts.os_version)}"],
        "apps": apps,
    }


def app(service: str, standing: model.ModelSummary | None) -> dict[str, Any]:
    """Return a service of a host; `standing` None: it has no model yet."""
    return {
        "name": show(service),
        "profileID": words.service_id(service),
        "state": words.MODEL_WORDS.get(standing.state, "") if standing is not None else "",
        "revision": standing.revision if standing is not None else 0,
    }


def capability(found: model.Capability) -> dict[str, Any]:
    """Return a capability."""
    return {
        "name": found.name,
        "description": found.description,
        "programs": list(found.programs),
        "files": list(found.files),
        "sensed": found.sensed,
    }
