from agent.datagrams import MERGE_NS, MOST_OPEN, Questions
from agent.lines import Ran
from agent.sensors.records import SocketRecord
from agent.stages.fold import Made
from nightherd.event.v1 import event_pb2 as events

HEADER = bytes.fromhex("1234 0100 0001 0000 0000 0000")


def asked(questions, name, *, at=0, exec_id="x", port=53):
    payload = HEADER + bytes([len(name)]) + name.encode() + b"\0\0\1\0\1"
    record = SocketRecord("connect", at, 7, "udp", "", 1, "192.0.2.1", port, payload=payload)
    event = events.Event(connect=events.Connect(remote_port=port))
    return list(questions.add(record, Made(Ran(events.Image(exec_id=exec_id)), event)))


def test_what_one_image_asks_one_server_within_a_second_is_one_event():
    questions = Questions()
    assert [asked(questions, name, at=5) for name in ("a", "b", "a")] == [[], [], []]
    assert list(questions.due(5 + MERGE_NS - 1)) == []
    (made,) = questions.due(5 + MERGE_NS)
    assert list(made.event.connect.dns_names) == ["a", "b"]
    assert made.event.count == 3
    assert list(questions.due(1 << 60)) == []


def test_more_names_than_one_event_holds_are_several_events():
    questions = Questions()
    told = [made for number in range(40) for made in asked(questions, f"n{number}")]
    told += questions.all()
    names = [name for made in told for name in made.event.connect.dns_names]
    assert names == [f"n{number}" for number in range(40)]


def test_images_are_told_apart_and_other_datagrams_are_not_held():
    questions = Questions()
    asked(questions, "a", exec_id="x")
    asked(questions, "a", exec_id="y")
    assert len(asked(questions, "a", port=5353)) == 1
    assert len(list(questions.all())) == 2


def test_what_is_collected_is_bounded():
    questions = Questions()
    told = [each for n in range(MOST_OPEN + 9) for each in asked(questions, "a", exec_id=f"{n}")]
    assert len(told) == 9
