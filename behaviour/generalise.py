"""Paths in general form: what differs from run to run becomes a placeholder.

Program folders and the files that security stands on are never generalised: there the exact name
is the point. The one exception are the short-lived names that shadow-utils makes beside its files.
"""

import re

PLACEHOLDERS = {
    "<uuid>": r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
    "<date>": r"[0-9]{4}[-_.]?[0-9]{2}[-_.]?[0-9]{2}",
    "<hex>": r"[0-9A-Fa-f]{8,}",
    "<tmp>": r"[A-Za-z0-9_]{6,}",
    "<n>": r"[0-9]+",
    "<user>": r"[^/]+",
}
"""What each placeholder stands for, as a regular expression."""

PROGRAM_FOLDERS = (
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
)
_EXACT_BELOW = tuple(f"{folder}/" for folder in PROGRAM_FOLDERS)
_SENSITIVE = re.compile(
    r"/etc/(?:passwd|shadow|group|gshadow|subuid|subgid|sudoers|cron|crontab|anacrontab|pam|systemd"
    r"|ssh|security|ld\.so|profile|hosts|resolv\.conf|apt|yum|dnf|init|rc)"
)
# useradd makes /etc/passwd.<pid>, links it to /etc/passwd.lock, writes /etc/passwd+, renames it
# into place and leaves /etc/passwd-; only the first name differs from run to run.
_LOCK = re.compile(r"(/etc/(?:passwd|shadow|group|gshadow|subuid|subgid)\.)[0-9]+")
_TEMPORARY_BELOW = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108  (names only)
_HOME = re.compile(r"/home/([^/]+)(?=/|$)")
_EXACT_AT_HOME = ("/.ssh/", "/.ssh")

_UUID = re.compile(rf"(?<![0-9A-Za-z]){PLACEHOLDERS['<uuid>']}(?![0-9A-Za-z])")
_DATE = re.compile(
    r"(?<![0-9A-Za-z])(?:19|20)[0-9]{2}([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])"
    r"(?![0-9A-Za-z])"
)
_PYTHON_TEMPORARY = re.compile(r"(?<![0-9A-Za-z])tmp(?=[a-z_]*[0-9])[a-z0-9_]{8}(?![0-9A-Za-z_])")
_SED_TEMPORARY = re.compile(r"(?<=/sed)[A-Za-z0-9]{6}(?=/|$)")
_WORD = re.compile(r"[0-9A-Za-z]+")
_HEX = re.compile(r"[0-9A-Fa-f]{8,}")
_TURN = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
_MKSTEMP = 6
_RANDOM_TURNS = 3
_RANDOM_LENGTH = 8


def generalise(path: str) -> str:
    """Return `path` in general form; again changes nothing.

    Args:
        path: an absolute path, as `as_text` gives it.
    """
    if path.startswith(_EXACT_BELOW):
        return path
    if _SENSITIVE.match(path):
        return _LOCK.sub(r"\1<n>", path) if _LOCK.fullmatch(path) else path
    home = _HOME.match(path)
    if home is not None:
        rest = path[home.end() :]
        if rest.startswith(_EXACT_AT_HOME):
            return path
        path = f"/home/<user>{rest}"
    # A replacement can bring two parts together that are themselves of a general form.
    while (general := _once(path)) != path:
        path = general
    return path


def _once(path: str) -> str:
    path = _UUID.sub("<uuid>", path)
    path = _DATE.sub("<date>", path)
    path = _PYTHON_TEMPORARY.sub("<tmp>", path)
    path = _SED_TEMPORARY.sub("<tmp>", path)
    temporary = path.startswith(_TEMPORARY_BELOW)

    def word(found: re.Match[str]) -> str:
        after_dot = path[found.start() - 1 : found.start()] == "."
        return _word(found[0], temporary=temporary, suffix=after_dot)

    return _WORD.sub(word, path)


def _word(word: str, *, temporary: bool, suffix: bool) -> str:
    """Classify one run of letters and digits."""
    if word.isdigit():
        return "<n>"
    if len(word) < _MKSTEMP:
        return word
    if _HEX.fullmatch(word) and any(character.isdigit() for character in word):
        return "<hex>"
    kinds = (
        any(character.isdigit() for character in word)
        + any(character.isupper() for character in word)
        + any(character.islower() for character in word)
    )
    if kinds > 1 and (temporary or (suffix and len(word) in (_MKSTEMP, 10))):
        return "<tmp>"  # mkstemp: six letters; mktemp: ten
    if len(word) >= _RANDOM_LENGTH and len(_TURN.findall(word)) >= _RANDOM_TURNS:
        return "<tmp>"
    return word
