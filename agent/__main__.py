"""`python -m agent`: watches this host; its other commands serve `nightherd`."""

import argparse
import asyncio
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent import settled

# What renders tracebacks in colour is installed where tests are; an agent would keep 5 MB of it.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]


def agent_version() -> str:
    """The installed version; "0.1.0+checkout" from a checkout."""
    try:
        return version("nightherd")
    except PackageNotFoundError:
        return "0.1.0+checkout"


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    parser.add_argument(
        "--print-signing-key",
        action="store_true",
        help="make the signing key if there is none, print its public half in hex, and end",
    )
    commands = parser.add_subparsers(dest="command")
    replay = commands.add_parser("replay", help="ship what was recorded as a host of its own")
    replay.add_argument("files", nargs="+", type=Path, help="spool segments (*.seg), or logs")
    replay.add_argument(
        "--format",
        choices=("batches", "auditd"),
        default="batches",
        help="what the files are: spool segments, or logs of auditd (plain or .gz)",
    )
    replay.add_argument("--host-id", required=True, help="id of the imported host")
    replay.add_argument("--herd", default="default", help="herd of the imported host")
    replay.add_argument("--events-per-second", type=float, default=0, help="pace; 0: no limit")
    replay.add_argument(
        "--wait", type=float, default=10, help="seconds to wait for who should take it"
    )
    verify = commands.add_parser("verify-spool", help="check the chain in a spool folder")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--key", default="", help="public signing key in hex")
    enrol = commands.add_parser("enrol", help="make this machine a host, with a one-time token")
    enrol.add_argument("url", help="https://host:port of the enrolment program")
    enrol.add_argument("--token", required=True, help='what enrol-token printed; "-": from stdin')
    enrol.add_argument("--ca-sha256", required=True, help="what enrol-token printed beside it")
    commands.add_parser("tidy-audit", help="remove audit rules that a killed agent left")
    parser.add_argument(settled.OPTION, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.settled is not None:
        _watch(arguments.settled)
        return
    if arguments.command == "verify-spool":
        from agent.verify import verify_spool  # noqa: PLC0415

        sys.exit(verify_spool(arguments.folder, bytes.fromhex(arguments.key)))
    if arguments.command == "tidy-audit":
        sys.exit(_tidy_audit())
    from agent.settings import Settings  # noqa: PLC0415
    from chassis.settings import load  # noqa: PLC0415

    settings = load(Settings)
    if arguments.print_signing_key:
        from agent.identity import signing_key  # noqa: PLC0415

        print(signing_key(settings.dir).public_key().public_bytes_raw().hex())  # noqa: T201
        return
    if arguments.command == "enrol":
        from agent import enrol as enrolling  # noqa: PLC0415

        sys.exit(enrolling.enrol(settings, arguments.url, arguments.token, arguments.ca_sha256))
    if arguments.command == "replay":
        from agent.replay import replay_files  # noqa: PLC0415
        from chassis import logs  # noqa: PLC0415

        logs.configure("agent", settings.log_level, settings.log_format)
        sys.exit(asyncio.run(replay_files(settings, arguments)))
    settled.hand_over(settings)


def _tidy_audit() -> int:
    from agent.sensors.audit_leftovers import tidy  # noqa: PLC0415

    try:
        print(tidy())  # noqa: T201
    except OSError as error:
        print(f"agent: audit is not ours to tidy: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _watch(fd: int) -> None:
    """Watch this host, with settings that were handed over."""
    from agent.run import run  # noqa: PLC0415
    from chassis import logs  # noqa: PLC0415

    settings = settled.receive(fd)
    logs.configure("agent", settings.log_level, settings.log_format)
    asyncio.run(run(settings, agent_version()))


if __name__ == "__main__":
    main()
