"""One event as one flat row: what every export says, in one order, whatever the format.

A row has five parts: the event, what of its image is new with each process, what many images share,
what stands above the image, and what the whole batch shares. Formats that are in a hurry render the
last three once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chassis.text import show
from evidence import naming
from evidence.kinds import Row, event_fields, moment, readable
from evidence.lineage import Lineage
from evidence.subjects import traits_of
from evidence.users import effective_of, user_of
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events

VERSION = 2
"""Of the rows: what is written for the same event changes only with it.

2: paths, hashes, origins.
"""

Field = tuple[str, str, str]

EVENT_FIELDS: tuple[Field, ...] = (
    ("id", "str", "identifies the event: host, chain, batch, place in the batch"),
    ("time", "time", "when"),
    ("kind", "str", "what happened, e.g. exec, file_change"),
    ("count", "int", "identical events that this one stands for"),
    ("lastTime", "time", "when the last of them happened"),
    ("attribution", "str", "how sure the actor is: exact, inferred, unknown"),
    ("cut", "bool", "something was left out of it: it would have been too large"),
    ("changedPaths", "strs", "paths that were changed"),
    ("operations", "strs", "what was done to each: created, modified, deleted, renamed, …"),
    ("paths", "strs", "paths it is about otherwise: read, hashed, mounted on, connected to"),
    ("sha256", "str", "SHA-256 of the file, 64 hex digits"),
    ("protocol", "str", "tcp, udp or unix"),
    ("localAddress", "str", "local address"),
    ("localPort", "int", "local port"),
    ("remoteAddress", "str", "remote address"),
    ("remotePort", "int", "remote port"),
    ("dnsNames", "strs", "names that the packet asks for"),
    ("exitCode", "int", "exit code"),
    ("signal", "int", "signal that ended it"),
    ("account", "str", "account it was about: tried, taken, changed, logged in"),
    ("details", "object", "whatever else the event says, by its kind"),
)
PROCESS_FIELDS: tuple[Field, ...] = (
    ("command", "str", "command line, secrets redacted"),
    ("pid", "int", "process id"),
    ("ppid", "int", "process id of the parent"),
    ("execID", "str", "identifies the program run over time, across pid reuse"),
    ("parentExecID", "str", "the same of its parent"),
    ("startTime", "time", "when it was executed"),
)
IMAGE_FIELDS: tuple[Field, ...] = (
    ("user", "str", "login user, else the effective user"),
    ("effectiveUser", "str", "whose rights it had"),
    ("userID", "int", "real user id"),
    ("effectiveUserID", "int", "effective user id"),
    ("loginUserID", "int", "user id of the login user"),
    ("processPath", "str", "program that did it"),
    ("scriptPath", "str", "script that the program ran"),
    ("workingDirectory", "str", "folder it was started in"),
    ("service", "str", "service that did it"),
    ("sessionID", "int", "audit session, unique within a boot"),
    ("terminal", "str", "terminal of the session"),
    ("sourceAddress", "str", "where the session came from"),
    ("provenance", "str", "who opened the session: interactive, scripted, scheduled, service, …"),
    ("cgroup", "str", "control group it ran in"),
    ("containerID", "str", "container it ran in"),
    ("containerImage", "str", "image of the container"),
    ("package", "str", "package that owns the program"),
    ("maintenance", "bool", "it ran for a package manager"),
    ("argumentsCut", "bool", "the command line is not whole"),
    ("traits", "strs", "what is noteworthy about how it ran: memoryFile, ldPreload, forked, …"),
    ("bornFrom", "object", "the session or service that it left, or that had it started"),
    ("mountNamespace", "int", "inode number of its mount namespace"),
    ("processDevice", "int", "device number of the program's file system"),
    ("processInode", "int", "inode number of the program's file"),
)
ABOVE_FIELDS: tuple[Field, ...] = (("ancestors", "strs", "programs above it, nearest first"),)
BATCH_FIELDS: tuple[Field, ...] = (
    ("hostname", "str", "host it happened on"),
    ("hostID", "str", "identifies the host"),
    ("herd", "str", "herd of the host"),
    ("origin", "str", "live or imported"),
)
EVENT: tuple[Field, ...] = (
    *EVENT_FIELDS,
    *PROCESS_FIELDS,
    *IMAGE_FIELDS,
    *ABOVE_FIELDS,
    *BATCH_FIELDS,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """A stored batch, opened."""

    batch_id: str
    """Its id in the store; ids of events begin with it."""
    header: delivery.BatchHeader
    hostname: str
    """As the store knows it: not sealed. Empty: not known."""
    body: events.EventBatch


def event_id(batch_id: str, place: int) -> str:
    """Return the id of the event at `place`."""
    return f"{batch_id}/{place}"


def rows(batch: Batch, places: Iterable[int]) -> Iterator[Row]:
    """Yield the events at `places` as rows; what is empty is left out."""
    whole = batch_fields(batch)
    lineage = Lineage(batch.body)
    images: dict[int, Row] = {}
    for place in places:
        event = batch.body.events[place]
        actor = actor_of(event, batch.body)
        if actor not in images:
            image = batch.body.images[actor] if actor >= 0 else None
            images[actor] = image_row(image, lineage) if image is not None else {}
        kind = event.WhichOneof("kind") or ""
        yield {
            "id": event_id(batch.batch_id, place),
            "time": moment(event.event_time),
            "kind": kind,
            **event_fields(event, kind),
            **images[actor],
            **whole,
        }


def actor_of(event: events.Event, body: events.EventBatch) -> int:
    """Return the place of the event's image; -1: nobody known (or it is not there)."""
    if not event.HasField("actor"):
        return -1
    actor = event.actor
    return actor if 0 <= actor < len(body.images) else -1


def image_row(image: events.Image, lineage: Lineage) -> Row:
    """Return what a row says of an image of the body of `lineage`."""
    above = above_fields(lineage, image.ancestor)
    return {**process_fields(image), **image_fields(image), **above}


def batch_fields(batch: Batch) -> Row:
    """Return what all rows of a batch share."""
    header = batch.header
    row = {
        "hostname": show(batch.hostname or header.host_id),
        "hostID": show(header.host_id),
        "herd": show(header.herd),
        "origin": naming.ORIGINS.get(header.origin, "") if header.origin else "",
    }
    return {name: value for name, value in row.items() if value}


def process_fields(image: events.Image) -> Row:
    """Return what is new with each process."""
    row: Row = {}
    if image.arguments:
        row["command"] = show(b" ".join(image.arguments))
    row["pid"] = image.pid
    row["ppid"] = image.ppid
    if exec_id := image.exec_id:
        row["execID"] = show(exec_id)
    if parent := image.parent_exec_id:
        row["parentExecID"] = show(parent)
    if image.HasField("start_time"):
        row["startTime"] = moment(image.start_time)
    return row


def image_fields(image: events.Image) -> Row:
    """Return what many images share, but for what stands above them."""
    row = {
        "user": show(user_of(image)),
        "effectiveUser": show(effective_of(image)),
        "userID": image.user_id,
        "effectiveUserID": image.effective_user_id,
        "loginUserID": image.login_user_id if image.HasField("login_user_id") else None,
        "processPath": show(image.executable),
        "scriptPath": show(image.script),
        "workingDirectory": show(image.working_directory),
        "service": show(image.service),
        "sessionID": image.session_id if image.HasField("session_id") else None,
        "terminal": show(image.terminal),
        "sourceAddress": show(image.source_address),
        "provenance": naming.PROVENANCES.get(image.provenance, "") if image.provenance else "",
        "cgroup": show(image.cgroup),
        "containerID": show(image.container_id),
        "containerImage": show(image.container_image),
        "package": show(image.package),
        "maintenance": image.maintenance or None,
        "argumentsCut": image.arguments_cut or None,
        "traits": [naming.TRAITS.get(trait, str(trait)) for trait in traits_of(image)] or None,
        "bornFrom": readable(image.born_from) or None if image.HasField("born_from") else None,
        "mountNamespace": image.mount_namespace or None,
        "processDevice": image.device or None,
        "processInode": image.inode or None,
    }
    return {name: value for name, value in row.items() if value not in ("", None)}


def above_fields(lineage: Lineage, place: int) -> Row:
    """Return what is said of what stands above an image whose `ancestor` is `place`."""
    above = lineage.executables(place)
    return {"ancestors": above} if above else {}
