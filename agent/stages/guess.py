"""Who may have changed a file when the source does not say: who ran at that time."""

from agent.lines import Ran
from agent.processes import Processes
from agent.sensors.records import FileRecord

WINDOW_NS = 2_500_000_000
WAIT_NS = 1_200_000_000
"""How long such a change waits, so that the next look at processes can name somebody."""
MOST_CANDIDATES = 16


def candidates(processes: Processes, record: FileRecord, own_pid: int) -> list[Ran]:
    """Return images that began shortly before the change, the likeliest first; may be empty.

    A program with the changed file among its arguments is likelier than one that merely ran.
    """
    found = [
        process
        for process in processes.lately(record.boot_ns - WINDOW_NS)
        if process.executed and process.pid != own_pid and process.start_ns <= record.boot_ns
    ]
    name = record.path.rpartition(b"/")[2]
    found.sort(
        key=lambda process: (
            any(name in argument for argument in process.image.arguments[1:]),
            process.start_ns,
        ),
        reverse=True,
    )
    return [process.ran for process in found[:MOST_CANDIDATES]]
