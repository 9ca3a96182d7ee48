"""Records that come by the thousand at once, as after an overflow."""

from agent.names import UserNames
from agent.output import Output
from agent.sensors.records import FileRecord
from agent.sensors.watchlist import WatchList
from agent.spool import Spool
from agent.stages.budget import Budgets
from agent.stages.identify import Identifier
from agent.stages.seal import Host, Sealer
from agent.translate import MOST_WAITING, Translator
from chassis import clock
from tests.agent.sealing import KEY
from tests.builders import BOOT, HOST


class Changed:
    def __init__(self) -> None:
        self.paths: list[bytes] = []

    def saw(self, made) -> None:
        self.paths += [change.path for change in made.event.file_change.changes]


def test_more_changes_by_nobody_known_than_may_wait_are_all_told(tmp_path):
    names = UserNames(tmp_path / "passwd")
    spool = Spool(tmp_path / "spool")
    sealer = Sealer(Host(HOST, "default", BOOT, "0.1.0"), KEY, spool.link)
    output = Output(spool, sealer, lambda: None, Budgets(0))
    output.witness = changed = Changed()
    translator = Translator(Identifier(BOOT, names), names, WatchList([]), output)
    now = clock.boot_ns()
    gone = [b"/srv/%d" % number for number in range(MOST_WAITING + 5_000)]
    translator.handle(
        [FileRecord("deleted", now, 0, path, b"", directory=False, exact=False) for path in gone],
        now,
    )
    translator.finish(now)
    output.finish()
    assert changed.paths == gone
    spool.close()
