"""Secrets in command lines, removed before anything is written down. The rules are redaction.yaml.

A mitigation, not a promise: what does not look like a secret is not known to be one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REMOVED = b"[redacted]"
FILE = Path(__file__).with_name("redaction.yaml")


@dataclass(frozen=True, slots=True)
class Rules:
    """redaction.yaml, compiled."""

    version: int
    names: re.Pattern[bytes]
    harmless: re.Pattern[bytes]
    inside: re.Pattern[bytes]
    short_options: dict[bytes, tuple[bytes, ...]]
    forms: tuple[re.Pattern[bytes], ...]
    hint: re.Pattern[bytes]
    """Matches a command line in small letters whenever anything else could: most stop here."""


def _alternatives(words: str) -> bytes:
    return b"|".join(re.escape(word.encode()) for word in words.split())


@cache
def rules(file: Path = FILE) -> Rules:
    """Return the compiled rules of `file`."""
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = _alternatives(document["secret_names"])
    harmless = _alternatives(document["harmless_names"])
    name = rb"[\w.-]*(?:" + names + rb")[\w.-]*"
    return Rules(
        version=document["version"],
        names=re.compile(rb"-{0,2}/?" + name, re.IGNORECASE),
        harmless=re.compile(rb"-{0,2}(?:[\w.-]*[_-])?(?:" + harmless + rb")", re.IGNORECASE),
        # Inside a text: NAME=VALUE, --NAME VALUE, with or without quotes around the value.
        inside=re.compile(
            rb"(?P<name>(?<![\w.-])-{0,2}" + name + rb")(?P<sign>=|(?<=\S):\s*|(?<![=:])\s+)"
            rb"(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"';|&]+)",
            re.IGNORECASE,
        ),
        short_options={
            program.encode(): tuple(option.encode() for option in options)
            for program, options in document["short_options"].items()
        },
        forms=tuple(re.compile(form.encode()) for form in document["forms"]),
        hint=re.compile(
            # Ignoring case would cost five times as much: the expression could not tell from a
            # first letter where nothing begins.
            names.lower()
            + rb"|://|authorization|x-|akia|asia|gh[pousr]_|glpat-|xox|eyj|private key"
        ),
    )


def redact(arguments: Sequence[bytes]) -> list[bytes]:
    """Return argv without its secrets. Idempotent; never raises; keeps the number of arguments."""
    rule = rules()
    if not arguments:
        return []
    short = rule.short_options.get(arguments[0].rpartition(b"/")[2], ())
    if not short and not rule.hint.search(b"\0".join(arguments).lower()):
        return list(arguments)
    kept = [arguments[0]]
    secret_follows = False
    for argument in arguments[1:]:
        if secret_follows and not (argument.startswith(b"-") and len(argument) > 1):
            kept.append(REMOVED)
            secret_follows = False
            continue
        argument, secret_follows = _one(rule, argument, short)  # noqa: PLW2901
        kept.append(argument)
    return kept


def redact_text(text: bytes) -> bytes:
    """Return a command line that is one text (sudo's log, a cron line) without its secrets."""
    rule = rules()
    if not rule.hint.search(text.lower()):
        return text
    return _forms(rule, _inside(rule, text))


def _one(rule: Rules, argument: bytes, short: Sequence[bytes]) -> tuple[bytes, bool]:
    """Return the argument without secrets, and whether the next one is a secret."""
    for option in short:
        if argument == option:
            return argument, True
        if len(option) == 2 and argument.startswith(option) and not argument.startswith(b"--"):  # noqa: PLR2004
            return option + REMOVED, False
    name, sign, value = argument.partition(b"=")
    if rule.names.fullmatch(name) and not rule.harmless.fullmatch(name):
        if sign:
            return name + b"=" + (REMOVED if value else b""), False
        if argument.startswith(b"-"):
            return argument, True
    if b" " in argument or b"\n" in argument or b"\t" in argument:
        argument = _inside(rule, argument)
    return _forms(rule, argument), False


def _inside(rule: Rules, text: bytes) -> bytes:
    def removed(match: re.Match[bytes]) -> bytes:
        name, sign = match["name"], match["sign"]
        if rule.harmless.fullmatch(name):
            return match[0]
        # "the password is" is prose; "--password is" is an option with its value.
        if not sign.strip() and not name.startswith(b"-"):
            return match[0]
        return name + sign + REMOVED

    return rule.inside.sub(removed, text)


def _forms(rule: Rules, text: bytes) -> bytes:
    for form in rule.forms:
        text = form.sub(lambda match: match[1] + REMOVED, text)
    return text
