"""The processes around one, out of what was seen of all of a host in a stretch of time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from chassis.text import show
from evidence.lineage import Above, copied
from evidence.network_pieces import remote
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb

MOST_LISTED = 100
MOST_NODES = 1000
Node = pb.GetProcessTreeResponse.Node


@dataclass(slots=True)
class Seen:
    """What was seen of one image."""

    image: events.Image
    above: Above = ()
    """What stands above it, nearest first."""
    paths: dict[str, None] = field(default_factory=dict)
    connections: dict[str, None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    ended: events.Event | None = None

    def note(self, event: events.Event) -> None:
        """Take an event that it caused."""
        kind = event.WhichOneof("kind") or ""
        self.counts[kind] = self.counts.get(kind, 0) + max(event.count, 1)
        if kind == "exit":
            self.ended = event
        elif kind == "file_change":
            for change in event.file_change.changes:
                if len(self.paths) < MOST_LISTED:
                    self.paths[show(change.path)] = None
        elif kind == "connect" and len(self.connections) < MOST_LISTED:
            self.connections[remote(event.connect)] = None


def around(exec_id: str, seen: dict[str, Seen]) -> tuple[list[Node], bool]:
    """Return the nodes around `exec_id`, which was seen, and whether they are all."""
    above = _above(exec_id, seen)
    children: dict[str, list[str]] = {}
    for key, one in seen.items():
        children.setdefault(one.image.parent_exec_id, []).append(key)
    relations = {exec_id: "self"} | dict.fromkeys(above, "ancestor")
    waiting = [exec_id]
    while waiting and len(relations) < MOST_NODES:
        for child in children.get(waiting.pop(0), ()):
            if child not in relations:
                relations[child] = "child"
                waiting.append(child)
    parent = seen[exec_id].image.parent_exec_id
    for sibling in children.get(parent, ()) if parent else ():
        relations.setdefault(sibling, "sibling")
    complete = len(relations) <= MOST_NODES and not waiting
    chosen = list(relations.items())[:MOST_NODES]
    return [_node(key, relation, seen, above) for key, relation in chosen], complete


def _above(exec_id: str, seen: dict[str, Seen]) -> dict[str, events.Image]:
    """Return the ancestors, nearest first: images that were seen, else what is said of them."""
    above: dict[str, events.Image] = {}
    told = {a.exec_id: a for a in seen[exec_id].above if a.exec_id}
    key = seen[exec_id].image.parent_exec_id
    while key and key != exec_id and key not in above and len(above) < MOST_LISTED:
        if key in seen:
            above[key] = seen[key].image
            told |= {a.exec_id: a for a in seen[key].above if a.exec_id}
            key = seen[key].image.parent_exec_id
        else:
            break
    for ancestor in told.values():
        if ancestor.exec_id != exec_id and ancestor.exec_id not in above:
            above[ancestor.exec_id] = events.Image(
                exec_id=ancestor.exec_id,
                pid=ancestor.pid,
                executable=ancestor.executable,
                script=ancestor.script,
            )
    keys = list(above)
    for lower, upper in pairwise(keys):
        if not above[lower].parent_exec_id:
            above[lower].parent_exec_id = upper
    return above


def _node(key: str, relation: str, seen: dict[str, Seen], above: dict[str, events.Image]) -> Node:
    one = seen.get(key) or Seen(above[key])
    node = Node(
        image=one.image,
        parent_exec_id=one.image.parent_exec_id,
        relation=relation,
        changed_paths=_sorted(one.paths),
        connections=_sorted(one.connections),
        event_counts=one.counts,
        ancestors=[copied(ancestor) for ancestor in one.above],
    )
    if one.ended is not None:
        node.end_time.CopyFrom(one.ended.event_time)
        node.exit.CopyFrom(one.ended.exit)
    return node


def _sorted(values: Iterable[str]) -> list[str]:
    return sorted(values)
