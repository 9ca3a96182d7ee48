"""Events, counts, timelines and process trees as JSON objects."""

from collections.abc import Sequence
from typing import Any

from chassis.text import show
from evidence import rows, wording
from evidence.lineage import Lineage, put_above
from gateway import render, render_hosts, render_incidents
from gateway.render import moment
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb


def event(record: pb.EventRecord) -> dict[str, Any]:
    """One event as a flat row, the same as in exports."""
    header = delivery.BatchHeader(host_id=record.host_id, herd=record.herd, origin=record.origin)
    body = events.EventBatch(events=[record.event])
    body.events[0].ClearField("actor")
    if record.HasField("image"):
        body.images.append(record.image)
        put_above(body, body.images[0], record.ancestors)
        body.events[0].actor = 0
    batch = rows.Batch(record.batch_id, header, record.hostname, body)
    (row,) = rows.rows(batch, [0])
    return {**row, "id": rows.event_id(record.batch_id, record.place)}


def summary(answer: pb.SummariseEventsResponse, names: Sequence[str]) -> dict[str, Any]:
    """Counts of events; `names` are the facets as they were asked for."""
    return {
        "total": answer.total_count,
        "complete": answer.complete,
        "facets": {
            name: {
                "values": [{"value": show(v.value), "count": v.count} for v in facet.values],
                "other": facet.other_count,
            }
            for name, facet in zip(names, answer.facets, strict=False)
        },
        "slices": [
            {"start": moment(each, "start_time"), "kind": each.kind, "count": each.count}
            for each in answer.slices
        ],
    }


def entry(found: pb.GetTimelineResponse.Entry) -> dict[str, Any]:
    """One entry of a timeline: when, on which host, one sentence, and the whole of it."""
    kind = found.WhichOneof("item") or ""
    sentence, item, hostname, host_id = "", {}, "", ""
    if kind == "event":
        record = found.event
        image = record.image if record.HasField("image") else None
        sentence = wording.event_sentence(record.event, image)
        item, hostname, host_id = event(record), record.hostname, record.host_id
    elif kind == "activity":
        told = found.activity
        sentence = wording.activity_sentence(told.finding, told.count)
        item, hostname, host_id = render.activity(told), told.finding.hostname, told.finding.host_id
    elif kind == "alert":
        alert = found.alert
        sentence = wording.alert_sentence(alert.finding, alert.count)
        item, hostname = render.alert(alert), alert.finding.hostname
        host_id = alert.finding.host_id
    elif kind == "incident":
        about = found.incident.incident
        sentence = render_incidents.sentence(found.incident)
        item = {"moment": found.incident.moment, **render_incidents.incident(about)}
        hostname, host_id = about.hostname, about.host_id
    elif kind == "gap":
        sentence = wording.gap_sentence(found.gap.gap)
        item, hostname, host_id = render_hosts.gap(found.gap), found.gap.hostname, found.gap.host_id
    return {
        "time": moment(found, "time"),
        "entry": kind,
        "hostname": show(hostname or host_id),
        "hostID": show(host_id),
        "sentence": sentence,
        "item": item,
    }


def node(found: pb.GetProcessTreeResponse.Node) -> dict[str, Any]:
    """One process with one program."""
    body = events.EventBatch(images=[found.image])
    put_above(body, body.images[0], found.ancestors)
    image = rows.image_row(body.images[0], Lineage(body))
    said = {
        "relation": found.relation,
        **image,
        "parentExecID": show(found.parent_exec_id),
        "endTime": moment(found, "end_time"),
        "exitCode": found.exit.code if found.exit.HasField("code") else None,
        "signal": found.exit.signal or None,
        "changedPaths": [show(path) for path in found.changed_paths],
        "connections": [show(each) for each in found.connections],
        "events": dict(sorted(found.event_counts.items())),
    }
    return {name: value for name, value in said.items() if value not in ("", None, [], {})}
