import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.stages.modules import changes_of
from nightherd.event.v1 import event_pb2 as events

IN, OUT = events.KernelChange.ACTION_MODULE_LOADED, events.KernelChange.ACTION_MODULE_UNLOADED


@pytest.mark.parametrize(
    ("executable", "line", "wanted"),
    [
        ("/usr/sbin/insmod", "insmod /tmp/evil-kit.ko debug=1", [(IN, "evil_kit")]),
        ("/usr/bin/kmod", "/sbin/insmod ./x.ko.xz", [(IN, "x")]),
        ("/usr/bin/kmod", "modprobe nf-tables hash=2", [(IN, "nf_tables")]),
        ("/usr/bin/kmod", "modprobe -qa a b", [(IN, "a"), (IN, "b")]),
        ("/usr/bin/kmod", "modprobe -r a b", [(OUT, "a"), (OUT, "b")]),
        ("/usr/bin/kmod", "rmmod -f a", [(OUT, "a")]),
        ("/usr/bin/kmod", "modprobe -n a", []),
        ("/usr/bin/kmod", "modprobe --show-depends a", []),
        ("/usr/bin/kmod", "modprobe -C /etc/x a", [(IN, "a")]),
        ("/usr/bin/kmod", "lsmod", []),
        ("/bin/busybox", "busybox rmmod a", [(OUT, "a")]),
        ("/bin/busybox", "insmod a.ko", [(IN, "a")]),
        ("/bin/ls", "ls a", []),
        ("/usr/bin/kmod", "modprobe", []),
    ],
)
def test_what_a_command_changes(executable, line, wanted):
    found = changes_of(executable.encode(), line.encode().split())
    assert [(change.action, change.name) for change in found] == wanted


@given(st.sampled_from([b"/bin/kmod", b"busybox", b"rmmod"]), st.lists(st.binary(max_size=6)))
def test_any_command_line_is_survived(executable, arguments):
    list(changes_of(executable, arguments))
