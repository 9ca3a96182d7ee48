"""Which activities the events of one batch make."""

from collections.abc import Mapping

from evidence.lineage import Above, Lineage
from nightherd.detector.v1 import finding_pb2 as pb
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from services.detector.domain import accounts, maintenance
from services.detector.domain.activity_table import Entry, Place, Table, Type, gives_rights
from services.detector.domain.actors import INTERACTIVE, actor_of, exec_id_at, outermost
from services.detector.domain.drafts import Draft
from services.detector.domain.ids import digest
from services.detector.domain.policy import Policy
from services.detector.domain.programs import Call, names_of

DAY_SECONDS = 86_400
_DELETED = events.FileChange.OPERATION_DELETED
_APPEARED = frozenset({events.FileChange.OPERATION_CREATED, events.FileChange.OPERATION_LINKED})
_ACCOUNTS = pb.ACTIVITY_TYPE_ACCOUNTS_MODIFIED


class Activities:
    """Reads the events of one batch and keeps a draft for each action in it."""

    def __init__(
        self, table: Table, policy: Policy, header: delivery.BatchHeader, lineage: Lineage
    ) -> None:
        """Begin a batch."""
        self._table, self._policy, self._header = table, policy, header
        self._lineage = lineage
        self._by_event = table.by_event
        self.drafts: dict[str, Draft] = {}

    def see(self, kind: str, event: events.Event, image: events.Image | None) -> list[Draft]:
        """Read one event; return the drafts that it made or added to."""
        if kind in ("exec", "connect"):
            seen = self._exec if kind == "exec" else self._connect
            return seen(event, image) if image is not None else []
        if kind == "file_change":
            return self._files(event, image)
        if kind not in self._by_event:
            return []
        type_ = self._by_event[kind]
        if kind in ("session_start", "service_change"):
            told = self._login if kind == "session_start" else self._service
            return told(type_, event, image)
        draft = self._draft(type_, event, image)
        if draft is None:
            return []
        if kind == "account_change":
            draft.accounts.update(accounts.of_change(event.account_change))
        elif kind == "privilege_use" and image is None:
            draft.actor.command = event.privilege_use.command
        return [draft]

    def _exec(self, event: events.Event, image: events.Image) -> list[Draft]:
        executable, script = image.executable, image.script
        names = names_of(executable, script)
        if not self._table.may_run(names, script):
            return []
        call = Call.of(executable, script, tuple(image.arguments), self._table.multi_call)
        found = self._table.runs(call)
        if found is None:
            return []
        type_, rule = found
        draft = self._draft(type_, event, image, read_only=rule.read_only)
        if draft is None:
            return []
        for target in rule.targets_of(call):
            draft.services[target.decode("utf-8", "backslashreplace")] = None
        return [draft]

    def _connect(self, event: events.Event, image: events.Image) -> list[Draft]:
        """A program spoke to a service by its socket, not by that service's own programs."""
        path = event.connect.path
        type_ = self._table.socket(path) if path else None
        if type_ is None or self._table.entries[type_].groups(image.executable, image.script):
            return []
        draft = self._draft(type_, event, image)
        return [draft] if draft is not None else []

    def _files(self, event: events.Event, image: events.Image | None) -> list[Draft]:
        place_of = self._table.place
        places: dict[bytes, Place] = {}
        given: set[bytes] = set()
        for change in event.file_change.changes:
            if change.directory:
                continue
            path, operation = change.path, change.operation
            place = place_of(path, operation)
            # What is written into a new file is part of making it.
            if gives_rights(change) and (gave := self._table.gave_rights(path)):
                given.add(path)
                place = place if place is not None and not place.also else gave
            if place is not None and (operation in _APPEARED or path not in places):
                places[path] = place
            previous = change.previous_path
            if previous:
                gone = place_of(previous, _DELETED)
                if gone is not None:
                    places.setdefault(previous, gone)
        drafts = self._placed(places, event, image) if places else []
        for draft in drafts:
            runnable = [path for path in draft.files if path in given]
            draft.rights.update(dict.fromkeys(runnable))
            for path in runnable:
                excused = maintenance.excuses_file(draft.type, path, image, rights=True)
                draft.excused = draft.excused and excused
        return drafts

    def _placed(
        self, places: Mapping[bytes, Place], event: events.Event, image: events.Image | None
    ) -> list[Draft]:
        drafts: dict[str, Draft] = {}
        makes = {place.type for place in places.values() if not place.also}
        taken = image and self._table.absorbed(image.executable, image.script)
        for path, place in places.items():
            type_, also = place.type, place.also
            if taken:
                type_, also = taken, also or type_ != taken
            elif also and type_ not in makes:
                continue
            draft = self._draft(type_, event, image)
            if draft is not None:
                (draft.also if also else draft.files)[path] = None
                if type_ != _ACCOUNTS:
                    excused = maintenance.excuses_file(type_, path, image)
                    draft.excused = draft.excused and excused
                drafts[draft.activity_id] = draft
        return list(drafts.values())

    def _draft(
        self,
        type_: Type,
        event: events.Event,
        image: events.Image | None,
        *,
        read_only: bool = False,
    ) -> Draft | None:
        """Return the draft of the action that `event` belongs to, made when it is new."""
        header = self._header
        person = image is not None and self._policy.is_person(image)
        if not self._policy.records(type_, person=person, read_only=read_only):
            return None
        if image is None:
            # Nobody is known: what one batch has of the type is told as one.
            key = digest(type_, header.host_id, header.chain_id, header.batch_number)
            if key not in self.drafts:
                actor = pb.Actor(attribution=events.ATTRIBUTION_UNKNOWN)
                self.drafts[key] = Draft(type_, key, actor, event.event_time, person=False)
            return self.drafts[key]
        entry = self._table.entries[type_]
        above = self._lineage.above(image)
        depth = max(0, outermost(image, above, entry.groups))
        key = digest(type_, header.host_id, exec_id_at(image, above, depth))
        draft = self.drafts.get(key)
        if draft is None:
            actor = actor_of(image, above, depth, event.attribution)
            draft = self.drafts[key] = Draft(type_, key, actor, event.event_time, person)
        if type_ == _ACCOUNTS:
            draft.accounts.update(_named(entry, image, above[:depth]))
            commands = [each.command for each in above[:depth]]
            excused = maintenance.excuses_account(event, image, commands)
        else:
            excused = maintenance.excuses(image)
        draft.excused = draft.excused and excused
        return draft

    def _service(self, type_: Type, event: events.Event, image: events.Image | None) -> list[Draft]:
        """A service manager tells what it did. A command that asked for it is the activity."""
        unit, header = event.service_change.unit, self._header
        for asked in self.drafts.values():
            if asked.type == type_ and unit in asked.services:
                return [asked]
        if not self._policy.records(type_, person=False):
            return []
        if self._table.entries[type_].routine.match(unit.encode()):
            return []
        # The manager is one image for as long as the machine runs: each unit is told by itself,
        # and once a day: a timer or a restart after a crash is its routine.
        day = event.event_time.seconds // DAY_SECONDS
        key = digest(type_, header.host_id, header.boot_id, str(day), unit)
        if image is not None:
            actor = actor_of(image, self._lineage.above(image), 0, event.attribution)
        else:
            actor = pb.Actor(attribution=events.ATTRIBUTION_UNKNOWN)
        draft = self.drafts[key] = Draft(type_, key, actor, event.event_time, person=False)
        draft.services[unit] = None
        return [draft]

    def _login(
        self,
        type_: Type,
        event: events.Event,
        image: events.Image | None,  # noqa: ARG002  (its opener is in the event)
    ) -> list[Draft]:
        """A session began. It is sent again when more is known: the same activity."""
        start, header = event.session_start, self._header
        if start.preexisting or start.provenance not in INTERACTIVE:
            return []  # cron opens a session a minute: its work is what counts
        if not self._policy.records(type_, person=True):
            return []
        key = digest(type_, header.host_id, header.boot_id, start.session_id)
        actor = pb.Actor(
            user=start.login_user or str(start.login_user_id),
            session_id=start.session_id,
            terminal=start.terminal,
            source_address=start.source_address,
            provenance=start.provenance,
            interactive=True,
            executable=start.opener,
            command=start.opener,
            attribution=event.attribution,
        )
        draft = self.drafts[key] = Draft(type_, key, actor, event.event_time, person=True)
        return [draft]


def _named(entry: Entry, image: events.Image, began: Above) -> set[accounts.Account]:
    """Return the accounts on the command lines of the action: the image's and what began it."""
    found = set(accounts.of_command(image.executable, image.script, tuple(image.arguments)))
    for each in began:
        if entry.groups(each.executable, each.script):
            words = tuple(each.command.split(b" "))
            found.update(accounts.of_command(each.executable, each.script, words))
    return found
