"""One fact, one list: every kind of event has its line in every table, and no table has another.

Whoever adds a kind is named here for each table that was forgotten (docs/how-to/add-an-event-kind.md
goes through them in order).
"""

import re
from pathlib import Path

import pytest
import yaml

import behaviour.behaviours
from evidence import kinds, pieces, wording
from evidence.exports import ecs, ocsf_classes, timesketch
from gateway import event_filters
from nightherd.event.v1 import event_pb2 as events
from services.detector import packaged

ROOT = Path(__file__).resolve().parents[2]
KINDS = {field.name for field in events.Event.DESCRIPTOR.oneofs_by_name["kind"].fields}
DOCUMENT = packaged.document("activities.yaml")
TABLES = {
    "evidence/timeline.yaml (events)": set(wording.templates()["events"]),
    "evidence/pieces.py (OF_KIND)": set(pieces.OF_KIND),
    "evidence/kinds.py (KINDS)": set(kinds.KINDS),
    "evidence/exports/ecs.py (CATEGORIES)": set(ecs.CATEGORIES) - {""},
    "evidence/exports/ocsf_classes.py (CLASSES)": set(ocsf_classes.CLASSES),
    "evidence/exports/timesketch.py (DESCRIPTIONS)": set(timesketch.DESCRIPTIONS),
    "services/detector/activities.yaml (events, without)": set(packaged.table().by_event)
    | set(DOCUMENT["without"]),
    "behaviour/behaviours.py (KINDS, WITHOUT)": set(behaviour.behaviours.KINDS)
    | set(behaviour.behaviours.WITHOUT),
    "gateway/event_filters.py (KINDS)": set(event_filters.KINDS),
    "docs/api.md (kinds of events)": set(
        re.findall(
            r"^\| `(\w+)` \|",
            (ROOT / "docs/api.md")
            .read_text()
            .partition("### kinds of events")[2]
            .partition("###")[0],
            re.MULTILINE,
        )
    ),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_kind_of_event_has_its_line(table):
    missing, unknown = sorted(KINDS - TABLES[table]), sorted(TABLES[table] - KINDS)
    assert not missing, f"{table} has no line for {', '.join(missing)}"
    assert not unknown, f"{table} has lines for what is no kind: {', '.join(unknown)}"


def test_the_how_to_names_every_table():
    page = (ROOT / "docs/how-to/add-an-event-kind.md").read_text()
    for table in TABLES:
        file = table.partition(" ")[0]
        assert f"`{file}`" in page, f"{file} is not in docs/how-to/add-an-event-kind.md"


def test_nobody_is_learned_and_not_learned_at_once():
    assert not set(behaviour.behaviours.KINDS) & set(behaviour.behaviours.WITHOUT)


def test_every_piece_that_a_template_names_is_made():
    for kind, template in wording.templates()["events"].items():
        event = events.Event()
        getattr(event, kind).SetInParent()
        made = {*pieces.actor(None), *pieces.of_event(event), "gap"}
        named = set(re.findall(r"\{(\w+)\}", template))
        assert named <= made, f"{kind}: nothing makes {', '.join(sorted(named - made))}"


def test_templates_are_sentences_in_one_file():
    loaded = yaml.safe_load((ROOT / "evidence/timeline.yaml").read_text())
    assert all(isinstance(text, str) and text for text in loaded["events"].values())
