"""What a filter means, and that cheaper tests never lose what the exact one finds."""

import pytest
from hypothesis import given, settings

from chassis import clock
from evidence.matching import Matcher, command_line, term_groups
from evidence.pieces import actor
from evidence.rows import Batch, rows
from evidence.terms import index_of
from evidence.words import fold, literals
from nightherd.event.v1 import delivery_pb2 as delivery
from nightherd.event.v1 import event_pb2 as events
from nightherd.store.v1 import store_service_pb2 as pb
from tests.builders import T0, a_body, a_person, an_event, an_image, changes, exec_id
from tests.evidence.strategies import bodies, filters

MANY = settings(max_examples=600)


def _terms_allow(index, asked):
    return index.terms_cut or all(
        any(
            term in group.terms or (group.prefixes and term.startswith(group.prefixes))
            for term in index.terms
        )
        for group in term_groups(asked)
    )


@MANY
@given(bodies(), filters())
def test_neither_terms_nor_bytes_lose_an_event_that_matches(body, asked):
    matcher = Matcher(asked)
    places = matcher.places(body)
    one_by_one = [
        place
        for place, event in enumerate(body.events)
        if matcher.matches(
            body.images[event.actor]
            if event.HasField("actor") and event.actor < len(body.images)
            else None,
            event,
        )
    ]
    assert places == one_by_one
    if places:
        assert matcher.may_hold(body.SerializeToString())
        assert _terms_allow(index_of(body), asked)


@MANY
@given(bodies(), filters())
def test_fields_are_all_and_values_are_any(body, asked):
    whole = set(Matcher(asked).places(body))
    each = set(range(len(body.events)))
    for field, value in asked.ListFields():
        parts = [value] if not field.is_repeated else value
        found = set()
        for part in parts:
            alone = pb.EventFilter()
            if field.type == field.TYPE_MESSAGE:
                getattr(alone, field.name).CopyFrom(part)
            elif field.is_repeated:
                getattr(alone, field.name).append(part)
            else:
                setattr(alone, field.name, part)
            found |= set(Matcher(alone).places(body))
        each &= found
    assert whole == each


@pytest.mark.parametrize(
    ("search", "arguments", "found"),
    [
        ("ADDUSER al", [b"adduser", b"Alice"], True),
        ("user  al", [b"adduser", b"Alice"], False),
        ("STRA\u00dfE", ["stra\u00dfe"], True),
        ("kill", ["\u212aill"], False),
        ("\u0394\u039f\u03a3", ["\u03b4\u03bf\u03c3\u03b1"], True),
        ("a\\xff", [b"a\xffb"], True),
        ("ffb", [b"a\xffb"], True),
        (".*", [b"adduser"], False),
        ("\x1b[", [b"\x1b[31m"], True),
    ],
)
def test_text_is_looked_for_as_it_is_shown_whatever_its_case(search, arguments, found):
    image = an_image(arguments=arguments)
    matcher = Matcher(pb.EventFilter(search=search))
    assert matcher.matches(image, an_event()) is found
    body = events.EventBatch(images=[image], events=[an_event()])
    assert not found or matcher.may_hold(body.SerializeToString())


def test_words_that_are_surely_in_the_bytes_are_few_but_there():
    assert literals("/usr/sbin/AddUser --disabled") == [b"/usr/sbin/adduser", b"--disabled"]
    assert literals("nginx") == [b"nginx"]
    assert literals("deadbeef") == [b"adbeef"]
    assert literals("x") == []
    assert fold("ΑΣ") == fold("ας")


def test_a_body_without_the_words_is_not_opened():
    body = events.EventBatch(images=[an_image(arguments=["ls", "-l"])], events=[an_event()])
    assert not Matcher(pb.EventFilter(search="nmap")).may_hold(body.SerializeToString())
    assert not Matcher(pb.EventFilter(users=["alice"])).may_hold(body.SerializeToString())


def test_who_stands_behind_it_is_the_login_user_else_the_effective_one():
    person, service = a_person(login_user="alice"), an_image()
    asked = Matcher(pb.EventFilter(users=["alice"]))
    assert asked.matches(person, an_event())
    assert not Matcher(pb.EventFilter(users=["root"])).matches(person, an_event())
    assert Matcher(pb.EventFilter(users=["root"])).matches(service, an_event())
    assert Matcher(pb.EventFilter(effective_users=["root"])).matches(person, an_event())
    assert not asked.matches(None, an_event(None))


def test_a_session_has_its_own_beginning_whoever_opened_it():
    start = an_event(session_start=events.SessionStart(session_id=9))
    assert Matcher(pb.EventFilter(session_ids=[9])).matches(an_image(), start)


def test_times_are_inclusive_and_an_actor_out_of_range_is_nobody():
    asked = pb.EventFilter(from_time=clock.to_timestamp(T0), to_time=clock.to_timestamp(T0))
    assert Matcher(asked).matches(None, an_event(None))
    assert not Matcher(asked).matches(None, an_event(None, T0 + 1))
    body = events.EventBatch(events=[an_event(7), an_event(-3, file_change=changes("/x"))])
    assert Matcher(pb.EventFilter(kinds=["exec"])).places(body) == [0]
    assert Matcher(pb.EventFilter(users=["root"])).places(body) == []


def test_command_lines_are_shown():
    assert command_line(an_image(arguments=[b"a\xff", b"b c"])) == "a\\xff b c"


def test_what_cannot_be_together_is_in_no_batch():
    both = pb.EventFilter(kinds=["exec", "file_change"], paths=["/etc/passwd"])
    assert [group.terms for group in term_groups(both)] == [("p:/etc/passwd",), ("k:file_change",)]
    never = pb.EventFilter(kinds=["exec"], path_prefixes=["/etc/"])
    assert any(not group.terms and not group.prefixes for group in term_groups(never))
    taken = pb.EventFilter(users=["alice"], effective_users=["root"])
    assert [group.terms for group in term_groups(taken)] == [("l:alice",), ("u:root",)]
    own = pb.EventFilter(users=["alice", "root"], effective_users=["root"])
    assert [group.terms for group in term_groups(own)] == [("w:alice", "w:root"), ("u:root",)]


def test_a_user_without_a_name_is_found_by_number():
    image = an_image(user="", login_user_id=1001)
    body = a_body((image, an_event(exec=events.Exec())))
    assert "w:1001" in index_of(body).terms
    assert Matcher(pb.EventFilter(users=["1001"])).places(body) == [0]
    assert next(rows(Batch("h/c/1", delivery.BatchHeader(), "", body), [0]))["user"] == "1001"
    assert actor(body.images[0])["who"].startswith("User 1001")


def test_a_hash_is_looked_for_by_its_term_and_its_bytes():
    digest = bytes(range(60, 92))
    told = events.FileHash(path=b"/tmp/evil", sha256=digest)
    body = a_body((an_image(), an_event(file_hash=told)), (an_image(), an_event()))
    asked = pb.EventFilter(sha256s=[digest.hex()])
    assert [group.terms for group in term_groups(asked)] == [(f"h:{digest.hex()}",)]
    assert f"h:{digest.hex()}" in index_of(body).terms
    assert Matcher(asked).may_hold(body.SerializeToString())
    assert Matcher(asked).places(body) == [0]
    other = Matcher(pb.EventFilter(sha256s=["ab" * 32]))
    assert other.places(body) == []
    assert not other.may_hold(body.SerializeToString())
    # A filter out of a file that somebody wrote may say anything.
    assert Matcher(pb.EventFilter(sha256s=["no hash"])).places(body) == []
    (row,) = rows(Batch("h/c/1", delivery.BatchHeader(), "", body), [0])
    assert (row["sha256"], row["paths"]) == (digest.hex(), ["/tmp/evil"])


def test_addresses_are_looked_for_among_connects_only():
    asked = pb.EventFilter(remote_addresses=["192.0.2.1"])
    assert [group.terms for group in term_groups(asked)] == [("a:192.0.2.1",)]
    never = pb.EventFilter(remote_addresses=["192.0.2.1"], kinds=["exec"])
    assert any(not group.terms for group in term_groups(never))


def test_who_reached_into_a_process_is_found_by_the_process():
    access = events.ProcessAccess(target_exec_id=exec_id(7))
    body = a_body((an_image(), an_event(process_access=access)))
    assert Matcher(pb.EventFilter(exec_ids=[exec_id(7)])).places(body) == [0]
