"""System calls and the programs they start, from audit records."""

from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.audit_assembly import KernelEvent
from agent.sensors.audit_calls import arguments_of, call_of, exec_of
from agent.sensors.audit_records import TYPE_NAMES, parse
from agent.sensors.records import UNSET_ID

NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
CALL = (
    "arch=c000003e syscall=59 success=yes exit=0 a0=56 a1=57 a2=58 a3=21 items=2 ppid=2176 "
    "pid=2219 auid=1001 uid=1001 gid=100 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts1 "
    'ses=8 comm="sh" exe="/usr/bin/dash" subj=unconfined key="x"\x1dARCH=x86_64 UID="alice"'
)


def event_of(*lines, stamp="audit(1783414661.335:485): "):
    records = [parse(NUMBERS[kind], (stamp + text).encode()) for kind, text in lines]
    kinds, texts = [each.kind for each in records], [each.text for each in records]
    return KernelEvent(records[0].wall_ns, records[0].serial, kinds, texts)


def executed(*lines):
    return exec_of(event_of(("SYSCALL", CALL), *lines), 0)


def test_an_execve_becomes_a_program_with_who_ran_it():
    record = exec_of(
        event_of(
            ("SYSCALL", CALL),
            ("EXECVE", 'argc=3 a0="sh" a1="-c" a2=67726570202D6320'),
            ("CWD", 'cwd="/root"'),
            ("PATH", 'item=1 name="/lib64/ld.so" nametype=NORMAL'),
            ("PATH", 'item=0 name="./sh" inode=8437791 nametype=NORMAL'),
        ),
        1_783_414_000_000_000_000,
    )
    assert record.boot_ns == record.start_ns == 661_335_000_485
    assert (record.pid, record.ppid, record.user_id, record.effective_user_id) == (
        2219,
        2176,
        1001,
        0,
    )
    assert (record.login_user_id, record.session_id, record.terminal) == (1001, 8, "pts/1")
    assert record.arguments == (b"sh", b"-c", b"grep -c ")
    assert not record.arguments_cut
    assert (record.executable, record.requested_path) == (b"/usr/bin/dash", b"./sh")
    assert record.working_directory == b"/root"
    assert record.exact


def test_what_failed_or_is_no_execve_starts_no_program():
    failed = CALL.replace("success=yes exit=0", "success=no exit=-13")
    assert exec_of(event_of(("SYSCALL", failed), ("EXECVE", 'argc=1 a0="x"')), 0) is None
    assert executed(("CWD", 'cwd="/"')) is None
    assert exec_of(event_of(("EXECVE", 'argc=1 a0="x"')), 0) is None


def test_long_arguments_are_joined_over_pieces_and_records():
    record = executed(
        ("EXECVE", 'argc=4 a0="x" a1_len=12 a1[0]=20212223 a1[1]="4142"'),
        ("EXECVE", ' a1[2]=2425 a2="second"'),
        ("EXECVE", " a3=61"),
    )
    assert record.arguments == (b"x", b' !"#4142$%', b"second", b"a")
    assert not record.arguments_cut


def test_arguments_that_are_missing_are_said_to_be():
    assert executed(("EXECVE", 'argc=3 a0="x" a2="z"')).arguments_cut
    assert executed(("EXECVE", 'argc=2 a0="x" a1_len=4000 a1[0]="begin"')).arguments_cut
    many = " ".join(f'a{place}="{"y" * 100}"' for place in range(1000))
    record = executed(("EXECVE", f"argc=1000 {many}"))
    assert record.arguments_cut
    assert sum(map(len, record.arguments)) <= 64 << 10


def test_no_terminal_no_login_and_a_program_that_is_gone():
    text = CALL.replace("tty=pts1", "tty=(none)").replace("auid=1001", f"auid={UNSET_ID}")
    text = text.replace("ses=8", f"ses={UNSET_ID}")
    text = text.replace('exe="/usr/bin/dash"', f"exe={b'/tmp/x (deleted)'.hex().upper()}")
    record = exec_of(event_of(("SYSCALL", text), ("EXECVE", 'argc=1 a0="x"')), 0)
    assert (record.terminal, record.login_user_id, record.session_id) == ("", UNSET_ID, UNSET_ID)
    assert record.executable == b"/tmp/x"


def test_names_in_another_order_say_the_same():
    usual = call_of(event_of(("SYSCALL", CALL)))
    words = CALL.partition("\x1d")[0].split(" ")
    assert call_of(event_of(("SYSCALL", " ".join(reversed(words))))) == usual


@given(st.lists(st.sampled_from(["SYSCALL", "EXECVE", "CWD", "PATH", "LOGIN"])), st.data())
def test_any_text_is_survived(kinds, data):
    odd = ['a0="x"', "a1[0]=41", "a1_len=9", "argc=99999999"]
    pieces = st.sampled_from([*CALL.split(" "), *odd])
    text = st.lists(pieces | st.text(max_size=8)).map(" ".join)
    event = event_of(("SYSCALL", CALL), *((kind, data.draw(text)) for kind in kinds))
    call_of(event)
    exec_of(event, 0)


@given(
    st.lists(st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw), min_size=1)
)
def test_arguments_come_back_as_they_were(arguments):
    def written(raw):
        plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
        return f'"{raw.decode()}"' if plain else raw.hex().upper()

    text = " ".join(f"a{place}={written(raw)}" for place, raw in enumerate(arguments))
    event = event_of(("EXECVE", f"argc={len(arguments)} {text}"))
    assert arguments_of(event) == (tuple(arguments), False)


def test_two_programs_of_one_millisecond_are_two():
    lines = ("SYSCALL", CALL), ("EXECVE", 'argc=1 a0="x"')
    first, second = (exec_of(event_of(*lines, stamp=f"audit(1.000:{n}): "), 0) for n in (7, 8))
    assert first.boot_ns < second.boot_ns
