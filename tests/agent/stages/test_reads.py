from agent.lines import Ran
from agent.sensors.records import ReadRecord
from agent.stages.reads import Reads
from nightherd.event.v1 import event_pb2 as events
from tests.builders import an_image

SECOND = 1_000_000_000
EXACT = events.ATTRIBUTION_EXACT


def ran_of(exec_id):
    return Ran(an_image("/bin/cat", exec_id=exec_id))


def read(at_s, path=b"/etc/shadow", secret="password hashes"):
    return ReadRecord(int(at_s * SECOND), 7, path, secret)


def told(made):
    return [[(each.path, max(each.count, 1)) for each in one.event.file_read.reads] for one in made]


def test_an_image_says_each_secret_once_and_counts_what_it_opens_again():
    reads, ran = Reads(), ran_of("a")
    for at in (0, 0.1, 0.2):
        reads.add(read(at), ran, EXACT)
    assert told(reads.due(SECOND // 2, 0)) == []
    assert told(reads.due(SECOND, 0)) == [[(b"/etc/shadow", 3)]]
    for at in (2, 3, 4):
        reads.add(read(at), ran, EXACT)
    assert told(reads.due(60 * SECOND, 0)) == []
    assert told(reads.due(602 * SECOND, 0)) == [[(b"/etc/shadow", 3)]]


def test_a_further_secret_does_not_wait_for_the_repeats_of_others():
    reads, ran = Reads(), ran_of("a")
    reads.add(read(0), ran, EXACT)
    assert told(reads.due(SECOND, 0))
    reads.add(read(2), ran, EXACT)
    reads.add(read(3, b"/root/.ssh/id_rsa", "ssh key"), ran, EXACT)
    assert told(reads.due(5 * SECOND, 0)) == [[(b"/etc/shadow", 1), (b"/root/.ssh/id_rsa", 1)]]


def test_the_end_of_an_image_tells_what_it_read():
    reads = Reads()
    reads.add(read(0), ran_of("a"), EXACT)
    reads.add(read(0), ran_of("b"), EXACT)
    (made,) = reads.ended("a", 5)
    assert made.urgent
    assert made.event.attribution == EXACT
    assert made.event.file_read.reads[0].secret == "password hashes"
    assert told(reads.ended("a", 5)) == []
    assert told(reads.all(0)) == [[(b"/etc/shadow", 1)]]


def test_more_secrets_than_an_event_holds_are_counted():
    reads, ran = Reads(), ran_of("a")
    for number in range(150):
        reads.add(read(0, b"/root/.ssh/id_%d" % number), ran, EXACT)
    (made,) = reads.due(SECOND, 0)
    assert len(made.event.file_read.reads) == 100
    assert made.event.file_read.reads_cut == 50
    assert made.event.cut


def test_images_that_read_no_more_are_forgotten():
    reads = Reads()
    for number in range(3000):
        reads.add(read(0), ran_of(str(number)), EXACT)
    assert len(told(reads.due(SECOND, 0))) == 3000
    list(reads.due(2 * SECOND, 0))
    assert len(reads._readers) <= 2048
