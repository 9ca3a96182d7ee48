"""Every format on any content: true to the rows, true to its schema, harmless."""

import copy
import csv
import io
import json
from collections import Counter
from functools import cache

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from chassis.text import csv_cell, show
from evidence.exports.ecs import Ecs
from evidence.exports.formats import FORMATS
from evidence.exports.ndjson import Ndjson
from evidence.exports.ocsf import Ocsf
from evidence.exports.text_csv import COLUMNS, Csv, cell
from evidence.exports.timesketch import MOST_WORD_BYTES, Timesketch
from evidence.rows import EVENT, Batch, rows
from nightherd.event.v1 import event_pb2 as events
from tests.builders import T0, a_body, a_person, an_event, an_image, changes
from tests.evidence.anything import BATCH_ID, HOST, KINDS, a_batch

SEEDS = st.integers(0, 10**6)


def rendered(form, batch, places=None, **options):
    """Render a copy: formats use up what they are given."""
    body = events.EventBatch()
    body.CopyFrom(batch.body)
    spare = Batch(batch.batch_id, batch.header, batch.hostname, body)
    chosen = range(len(body.events)) if places is None else places
    return b"".join(form(**options).lines(spare, chosen))


def documents(form, batch):
    return [json.loads(line) for line in rendered(form, batch).splitlines()]


@given(SEEDS)
@settings(max_examples=150)
def test_json_lines_are_what_dumping_each_row_gives(seed):
    batch = a_batch(seed)
    expected = b"".join(orjson.dumps(row) + b"\n" for row in rows(batch, range(12)))
    assert rendered(Ndjson, batch) == expected


@given(SEEDS, st.booleans())
@settings(max_examples=150)
def test_csv_is_what_the_csv_module_writes_for_each_row(seed, raw):
    batch = a_batch(seed)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    kinds = {name: kind for name, kind, _ in EVENT}
    for row in rows(batch, range(12)):
        cells = [cell(row.get(name)) for name in COLUMNS]
        texts = ("str", "strs", "object")
        writer.writerow(
            [
                csv_cell(text) if kinds[name] in texts and not raw else text
                for name, text in zip(COLUMNS, cells, strict=True)
            ]
        )
    assert Csv.head + rendered(Csv, batch, raw=raw) == buffer.getvalue().encode()


def shared_argument(body):
    body.images.append(an_image(arguments=[b"x" * (1 << 20)]))


def long_ancestor(body):
    body.ancestors.add(executable=b"x" * (1 << 20))
    for number in range(50):
        body.ancestors.add(executable=b"y", above=1)
        body.images.append(an_image(ancestor=number + 2))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("hostile", [shared_argument, long_ancestor])
def test_what_many_lines_share_comes_in_pieces_of_few_lines(form, hostile):
    body = events.EventBatch()
    hostile(body)
    body.events.extend(an_event(n % len(body.images)) for n in range(50))
    header = a_batch(0).header
    pieces = list(form().lines(Batch(BATCH_ID, header, HOST, body), range(50)))
    assert max(map(len, pieces)) < 4 << 20
    assert b"".join(pieces).count(b"\n") == 50


@given(SEEDS)
@settings(max_examples=100)
def test_rows_have_only_fields_of_the_table_in_its_order(seed):
    for row in rows(a_batch(seed), range(12)):
        assert list(row) == [name for name, _, _ in EVENT if name in row]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@given(seed=SEEDS)
@settings(max_examples=60)
def test_every_line_is_visible_text_with_an_id_of_its_own(form, seed):
    batch = a_batch(seed)
    lines = rendered(form, batch).split(b"\r\n" if form is Csv else b"\n")
    assert lines.pop() == b""
    assert not any(line.startswith(b"#") for line in lines)
    assert all(json.loads(json.dumps(show(line))) == line.decode() for line in lines)
    found = [form.row_id(line) for line in lines]
    assert len(set(found)) == len(found)
    places = [int(one.removeprefix(f"{BATCH_ID}/").partition(".")[0]) for one in found]
    assert places == sorted(places)
    assert set(places) == set(range(12))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_what_is_known_from_other_batches_changes_nothing(form):
    used = form()
    for seed in range(40):
        batch = a_batch(seed % 7)
        spare = copy.deepcopy(batch.body)
        again = Batch(batch.batch_id, batch.header, batch.hostname, spare)
        assert b"".join(used.lines(again, range(12))) == rendered(form, batch)


@cache
def validator(class_uid, profiles):
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
    name = schema.lookup_class_name_from_uid(class_uid)
    return jsonschema.Draft202012Validator(schema.get_class_schema(name, list(profiles)))


def problems(document):
    metadata = document["metadata"]
    assert metadata["version"] == "1.8.0"
    check = validator(document["class_uid"], tuple(metadata["profiles"]))
    return [
        f"{document['class_uid']} {e.json_path}: {e.message[:200]}"
        for e in check.iter_errors(document)
    ]


@pytest.mark.parametrize("seed", range(60))
def test_ocsf_events_are_what_its_schema_demands(seed):
    for document in documents(Ocsf, a_batch(seed)):
        assert problems(document) == []
        assert document["type_uid"] == document["class_uid"] * 100 + document["activity_id"]


def test_ocsf_classes_are_those_of_the_kinds():
    classes = {}
    for seed in range(60):
        batch = a_batch(seed)
        for document in documents(Ocsf, batch):
            place = int(document["metadata"]["uid"].rpartition("/")[2].partition(".")[0])
            kind = batch.body.events[place].WhichOneof("kind") or ""
            classes.setdefault(kind, set()).add(document["class_uid"])
    assert set(classes) == {*KINDS, ""}
    assert classes["exec"] == classes["fork"] == {1007, 0}  # 0 when nobody is known
    assert classes["file_change"] == classes["file_read"] == classes["mount_change"] == {1001}
    assert classes["process_access"] == classes["exec_failure"] == {1007}
    assert classes["privilege_gain"] == {1007, 0}
    assert classes["file_hash"] == {5007}
    assert classes["connect"] == classes["listen"] == {4001}
    assert classes["auth_failure"] == classes["session_start"] == {3002}
    assert classes["account_change"] == {3001, 3006}
    assert classes["kernel_change"] == classes["gap"] == {0}


def useradd():
    person = a_person("/usr/sbin/useradd", ["useradd", "zo"])
    changed = changes(b"/etc/passwd", b"/etc/shadow")
    body = a_body((person, an_event()), (person, an_event(file_change=changed)))
    header = a_batch(0).header
    return Batch(BATCH_ID, header, "web-1", body)


def test_one_event_with_two_files_is_two_facts_with_one_file_each():
    for form, path in ((Ocsf, ["file", "path"]), (Ecs, ["file", "path"]), (Timesketch, ["path"])):
        found = documents(form, useradd())[1:]
        for document, expected in zip(found, ("/etc/passwd", "/etc/shadow"), strict=True):
            at = document
            for name in path:
                at = at[name]
            assert at == expected
            assert expected in document["message"]


def test_ocsf_tells_who_launched_what():
    launch = documents(Ocsf, useradd())[0]
    assert launch["process"]["cmd_line"] == "useradd zo"
    assert launch["process"]["pid"] == 500
    assert launch["actor"]["process"]["pid"] == 1
    assert launch["actor"]["user"] == {"name": "alice", "uid": "1001"}
    assert launch["time"] == T0 // 1_000_000
    assert launch["device"]["hostname"] == "web-1"


def test_ecs_documents_have_its_names_and_only_values_that_its_types_take():
    types = Counter()
    for seed in range(60):
        for document in documents(Ecs, a_batch(seed)):
            assert document["ecs"]["version"] == "9.0.0"
            assert document["@timestamp"].endswith("Z")
            assert document["event"]["kind"] == "event"
            assert document["event"]["dataset"] == "nightherd.event"
            assert document.get("host", {}).get("id") == HOST
            for place in ("source", "destination", "server"):
                address = document.get(place, {}).get("ip")
                assert address in (None, "1.2.3.4", "::1")
            types.update(document["event"].get("type", []))
            assert all(isinstance(v, str) for v in document["event"].get("category", []))
            details = document.get("nightherd", {}).get("details")
            assert details is None or isinstance(json.loads(details), dict)
    assert {"start", "end", "change", "creation", "deletion", "connection"} <= set(types)
    launch = documents(Ecs, useradd())[0]
    assert launch["process"]["name"] == "useradd"
    assert launch["user"]["name"] == "alice"
    assert launch["user"]["effective"]["name"] == "root"


def test_timesketch_rows_have_what_it_demands_and_no_word_that_is_too_long():
    import datetime as dt

    batch = a_batch(3)
    batch.body.images.add(arguments=["ä".encode() * 40_000], executable=b"/" + b"x" * 50_000)
    batch.body.events[0].actor = len(batch.body.images) - 1
    for document in documents(Timesketch, batch):
        assert {
            "message",
            "datetime",
            "timestamp_desc",
            "timestamp",
            "data_type",
        } <= document.keys()
        assert dt.datetime.fromisoformat(document["datetime"]).tzinfo is not None
        for value in document.values():
            assert not isinstance(value, dict | list)
            if isinstance(value, str):
                assert len(value.encode()) <= MOST_WORD_BYTES
    cut = documents(Timesketch, batch)[0]
    assert cut["command"].endswith(" [cut]")


def test_timesketch_rows_look_like_those_that_its_own_tests_import(shared_data):
    import datetime as dt

    sample = shared_data / "timesketch" / "tests" / "test_events" / "sigma_events.jsonl"
    theirs = [json.loads(line) for line in sample.read_text().splitlines() if line.strip()]
    ours = documents(Timesketch, useradd())
    for document in (*theirs, *ours):
        assert document["message"]
        assert document["timestamp_desc"]
        assert dt.datetime.fromisoformat(document["datetime"])
    large = (shared_data / "timesketch/tests/test_events/large_field_event.jsonl").read_text()
    refused = [json.loads(line) for line in large.splitlines() if line.strip()]
    longest = max(len(str(v).encode()) for row in refused for v in row.values())
    assert longest > MOST_WORD_BYTES
