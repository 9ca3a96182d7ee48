"""What a service did that its model does not know, told once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from behaviour.behaviours import Behaviour, behaviours_of, programs_of
from behaviour.capabilities import of_file, of_program
from behaviour.generalise import generalise
from behaviour.matcher import allows, deviation
from behaviour.model import Model
from behaviour.text import as_text
from evidence.lineage import Above, Lineage
from nightherd.event.v1 import event_pb2 as events
from nightherd.modeler.v1 import model_pb2 as pb
from services.detector.domain.activity_table import Table, gives_rights
from services.detector.domain.actors import outermost
from services.detector.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class Breach:
    """One behaviour that broke a model.

    Attributes:
        behaviour: what the model does not know.
        depth: which image it is laid to, see `actors.outermost`.
        once: every breach of this behaviour by that image is the same occurrence; otherwise each
            event is one of its own (a daemon that writes a file today and tomorrow).
        by: the program that was run, or the path that was written or connected to;
            empty for ports.
        executed: whether `by` is a program.
        connected: whether `by` is a socket.
    """

    behaviour: Behaviour
    depth: int
    once: bool
    by: bytes = b""
    executed: bool = False
    connected: bool = False


def breaches(
    event: events.Event,
    images: Sequence[events.Image],
    image: events.Image,
    lineage: Lineage,
    model: Model,
    policy: Policy,
    table: Table,
) -> list[Breach]:
    """Return how `event`, done by `image`, breaks `model`; its state is not asked.

    One useradd is one breach: running it, the files it changes and the programs it starts are all
    laid to the capability that it obtains (policy.yaml, `contained`).
    """
    found = [b for b in behaviours_of(event, images) if not allows(model, b)]
    if not found:
        return []
    above = lineage.above(image)
    for name in policy.contained:
        behaviour = Behaviour(pb.FACET_OBTAINS, name)
        if not allows(model, behaviour):
            depth = _program_depth(image, above, name, gaps=True)
            if depth >= 0:
                return [_executing(image, above, behaviour, depth)] if behaviour in found else []
    kind = event.WhichOneof("kind")
    if kind == "exec":
        told = list(_exec(image, above, found))
    elif kind == "file_change":
        told = list(_files(event.file_change, image, above, model, policy, table))
    else:
        by = event.connect.path
        told = [Breach(each, 0, once=False, by=by, connected=bool(by)) for each in found]
    return [b for b in told if policy.of_deviation(b.behaviour.facet, b.behaviour.subject).alerts]


def _exec(image: events.Image, above: Above, found: Sequence[Behaviour]) -> Iterator[Breach]:
    obtained = [b for b in found if b.facet == pb.FACET_OBTAINS]
    for behaviour in obtained:
        depth = _program_depth(image, above, behaviour.subject)
        yield _executing(image, above, behaviour, max(depth, 0))
    if not obtained:
        # Interpreter and script both new: the script says more.
        ran = found[-1]
        yield Breach(ran, 0, once=True, by=ran.subject.encode(), executed=True)


def _files(
    change: events.FileChange,
    image: events.Image,
    above: Above,
    model: Model,
    policy: Policy,
    table: Table,
) -> Iterator[Breach]:
    only_sensitive = policy.deviations[pb.FACET_WRITES].only_sensitive
    # What an account tool writes beside the account files (the new home) is part of its work.
    absorbed = table.absorbed(image.executable, image.script) is not None
    for item in change.changes:
        for path in filter(None, (item.path, item.previous_path)):
            text = as_text(path)
            names = of_file(text)
            for name in names:
                behaviour = Behaviour(pb.FACET_OBTAINS, name)
                if allows(model, behaviour):
                    continue
                depth = _program_depth(image, above, name)
                if depth >= 0:
                    yield _executing(image, above, behaviour, depth)
                else:
                    yield Breach(behaviour, 0, once=False, by=path)
            behaviour = Behaviour(pb.FACET_WRITES, generalise(text))
            if names or absorbed or allows(model, behaviour):
                continue
            place = table.place(path, item.operation)
            gave_rights = path == item.path and gives_rights(item) and not item.directory
            if gave_rights or not only_sensitive or (place is not None and not place.also):
                yield Breach(behaviour, 0, once=False, by=path)


def _program_depth(
    image: events.Image, above: Above, capability: str, *, gaps: bool = False
) -> int:
    if not gaps and any(capability in of_program(path) for path in programs_of(image)):
        # An applet of busybox is a program of its own, which only the image itself can tell.
        return max(0, outermost(image, above, lambda e, s: _obtains(e, s, capability)))
    return outermost(image, above, lambda e, s: _obtains(e, s, capability), gaps=gaps)


def _obtains(executable: bytes, script: bytes, capability: str) -> bool:
    return capability in of_program(as_text(executable)) or (
        bool(script) and capability in of_program(as_text(script))
    )


def _executing(image: events.Image, above: Above, behaviour: Behaviour, depth: int) -> Breach:
    if depth > 0:
        began = above[depth - 1]
        paths = tuple(as_text(path) for path in (began.executable, began.script) if path)
    else:
        paths = programs_of(image)
    program = next((p for p in paths if behaviour.subject in of_program(p)), paths[0])
    return Breach(behaviour, depth, once=True, by=program.encode(), executed=True)


def message_of(breach: Breach, service: str, address: str = "") -> str:
    """Word a breach for people."""
    facet, subject = breach.behaviour
    by = as_text(breach.by)
    if facet == pb.FACET_OBTAINS:
        how = "executing" if breach.executed else "writing"
        how = "connecting to" if breach.connected else how
        return f"Service {service} attempted to obtain capability {subject} by {how} {by}"
    if facet == pb.FACET_RUNS:
        return f"Service {service} ran {by}, which it never ran while it was learned"
    if facet == pb.FACET_WRITES:
        return f"Service {service} changed {by}, which it never changed while it was learned"
    if facet == pb.FACET_LISTENS:
        return f"Service {service} listened on {subject}, which it never did while it was learned"
    to = f" ({address})" if address else ""
    return f"Service {service} connected to {subject}{to}, which it never did while it was learned"


def expected_of(breach: Breach, model: Model) -> str:
    """Say what the model knows instead."""
    found = deviation(model, breach.behaviour)
    if found is None:
        return ""
    if not found.known_count:
        return f"model revision {model.revision} knows nothing of the kind"
    nearest = ", ".join(found.nearest)
    return f"model revision {model.revision} knows {found.known_count} of the kind, e.g. {nearest}"
