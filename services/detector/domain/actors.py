"""Who did it: the actor of a finding, and the outermost program of one and the same action."""

from collections.abc import Callable
from typing import TypeAlias

from evidence.lineage import Above
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import event_pb2 as events

Belongs: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether (executable, script) is a program of the action."""

INTERACTIVE = frozenset({events.PROVENANCE_INTERACTIVE, events.PROVENANCE_SCRIPTED})
# Agents keep to these; a host in foreign hands may not, and one image may stand in many findings.
COMMAND_BYTES = 4096
PATH_BYTES = 4096
NAME_CHARACTERS = 256


def outermost(image: events.Image, above: Above, belongs: Belongs, *, gaps: bool = False) -> int:
    """Return how far above `image` its action begins: 0 is the image, n the n-th of `above`.

    The walk goes over ancestors that belong, without a break (`gaps`: also with others between);
    the first process of the machine belongs to no action.

    Returns:
        -1 when neither the image nor (with `gaps`) any ancestor belongs.
    """
    depth = 0 if belongs(image.executable, image.script) else -1
    if depth < 0 and not gaps:
        return depth
    for place, ancestor in enumerate(above, start=1):
        if ancestor.pid <= 1:
            break
        if belongs(ancestor.executable, ancestor.script):
            depth = place
        elif not gaps:
            break
    return depth


def exec_id_at(image: events.Image, above: Above, depth: int) -> str:
    """Return the exec_id of the image or its ancestor at `depth`."""
    return above[depth - 1].exec_id if depth > 0 else image.exec_id


def boot_of(exec_id: str) -> str:
    """Return the boot that an exec_id names; "" for one of another shape."""
    return exec_id.partition(":")[0]


def command_of(image: events.Image) -> bytes:
    """Return the command line of an image."""
    command = b" ".join(image.arguments[:COMMAND_BYTES])
    return command[:COMMAND_BYTES] or image.executable[:PATH_BYTES]


def user_of(image: events.Image) -> str:
    """Return the login user where there is one, else the effective user; numbers without names."""
    if image.login_user:
        return image.login_user[:NAME_CHARACTERS]
    if image.HasField("login_user_id"):
        return str(image.login_user_id)
    return image.user[:NAME_CHARACTERS] or str(image.effective_user_id)


def actor_of(
    image: events.Image, above: Above, depth: int, attribution: "events.Attribution.ValueType"
) -> pb.Actor:
    """Return the actor: the image at `depth`, with the session of `image` (it is the same)."""
    actor = pb.Actor(
        user=user_of(image),
        effective_user=image.user[:NAME_CHARACTERS] or str(image.effective_user_id),
        terminal=image.terminal[:NAME_CHARACTERS],
        source_address=image.source_address[:NAME_CHARACTERS],
        provenance=image.provenance,
        interactive=image.provenance in INTERACTIVE,
        service=image.service[:PATH_BYTES],
        container_id=image.container_id[:NAME_CHARACTERS],
        ancestors=[
            (each.script or each.executable)[:PATH_BYTES] for each in above[max(depth, 0) :]
        ],
        attribution=attribution,
        maintenance=image.maintenance,
    )
    if image.HasField("session_id"):
        actor.session_id = image.session_id
    if depth > 0:
        began = above[depth - 1]
        actor.exec_id, actor.pid = began.exec_id, began.pid
        actor.executable = began.executable[:PATH_BYTES]
        actor.command = (began.command or began.executable)[:COMMAND_BYTES]
        actor.ppid = above[depth].pid if depth < len(above) else 0
    else:
        actor.exec_id, actor.pid, actor.ppid = image.exec_id, image.pid, image.ppid
        actor.executable = image.executable[:PATH_BYTES]
        actor.command = command_of(image)
    return actor
