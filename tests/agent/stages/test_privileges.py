import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.stages.privileges import gives_rights, request_of


@pytest.mark.parametrize(
    ("line", "target", "command"),
    [
        ("sudo ls -l", "", "ls -l"),
        ("sudo -u nobody ls -u x", "nobody", "ls -u x"),
        ("sudo -unobody -- -x", "nobody", "-x"),
        ("sudo -Hu bob id", "bob", "id"),
        ("sudo --user=bob A=1 B_2=x id", "bob", "id"),
        ("sudo -g wheel -i", "", ""),
        ("sudo -u", "", ""),
        ("su", "", ""),
        ("su -", "", ""),
        ("su - postgres -c psql", "postgres", "psql"),
        ("su nobody -s /bin/sh -c id", "nobody", "id"),
        ("su --command=id -l bob", "bob", "id"),
        ("runuser -u www-data -- php x.php", "www-data", "php x.php"),
        ("doas -u bob id", "bob", "id"),
        ("pkexec --user bob id -u", "bob", "id -u"),
        ("ls -u bob", "", ""),
    ],
)
def test_what_was_asked_for(line, target, command):
    words = line.encode().split()
    asked = request_of(b"/usr/bin/" + words[0], words)
    assert asked == (target.encode(), command.encode())


def test_a_program_of_that_name_elsewhere_gives_no_rights():
    assert gives_rights(b"/usr/bin/sudo")
    assert not gives_rights(b"/tmp/sudo")
    assert not gives_rights(b"/usr/bin/sudoreplay")


@given(st.sampled_from([b"/usr/bin/sudo", b"/bin/su", b"/x"]), st.lists(st.binary(max_size=6)))
def test_any_command_line_is_survived(executable, arguments):
    request_of(executable, arguments)
