"""`python -m enrolment`: serves; `python -m enrolment token` makes a one-time token."""

import argparse
import asyncio
import contextlib
import datetime as dt
import re
import socket
import sys

import structlog
from cryptography.hazmat.primitives import hashes

from chassis import logs
from chassis.authority import Authority
from chassis.counters import serve_metrics
from chassis.https import listening, serving
from chassis.settings import load
from chassis.signals import until_terminated
from enrolment.app import create_app
from enrolment.issuer import SERVER_LIFETIME, Issuer
from enrolment.rates import Rates
from enrolment.settings import Settings
from enrolment.tokens import Tokens

log = structlog.get_logger()
CHECK_S = 30.0
AGENT = "/opt/nightherd/bin/python -m agent"
"""Where docs/how-to/install-the-agent.md puts it."""
MOST_HOURS = 24 * 365
# As herds are written in settings; it becomes the certificate's OU, which has 64 characters.
HERD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM.

    Raises:
        SystemExit: no authority to be had, or a port in use; the message says which.
    """
    async with contextlib.AsyncExitStack() as closing:
        try:
            issuer = Issuer(settings)
            files = issuer.server_files()
            if (metrics := serve_metrics(settings.metrics_listen)) is not None:
                closing.callback(metrics.close)
            sock = closing.enter_context(listening(settings.listen))
            app = create_app(issuer, Rates(settings.requests_per_minute))
            https = serving(app, sock, files, drain_s=settings.drain_seconds, check_s=CHECK_S)
            await closing.enter_async_context(https)
        except (OSError, ValueError) as error:
            raise SystemExit(f"enrolment: cannot start: {error}") from error
        renewing = asyncio.create_task(_renew_own(issuer))
        closing.callback(renewing.cancel)
        log.info("serving", port=sock.getsockname()[1])
        await until_terminated()
        log.info("draining")


async def _renew_own(issuer: Issuer) -> None:
    """Issue our own certificate anew at two thirds of its life; the server follows the files."""
    pause_s = SERVER_LIFETIME.total_seconds() * 2 / 3
    while True:
        await asyncio.sleep(pause_s)
        try:
            issuer.server_files()
        except OSError as error:
            log.error("own certificate not renewed", error=str(error))  # noqa: TRY400
            pause_s = 600.0
        else:
            pause_s = SERVER_LIFETIME.total_seconds() * 2 / 3


def print_token(settings: Settings, herd: str, hours: float) -> int:
    """Make a token and print it, and on stderr what to do with it; return the exit status."""
    folder, now = settings.dir, dt.datetime.now(dt.UTC)
    if not HERD.fullmatch(herd) or not 0 < hours <= MOST_HOURS:
        print(  # noqa: T201
            "enrolment: a herd has up to 64 letters, digits and ._-; a token lives up to a year",
            file=sys.stderr,
        )
        return 2
    try:
        fingerprint = Authority.open(folder).certificate.fingerprint(hashes.SHA256()).hex()
        token = Tokens(folder).make(herd, dt.timedelta(hours=hours), now)
    except (OSError, ValueError) as error:
        print(f"enrolment: no token made: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"token      {token}\nca-sha256  {fingerprint}", flush=True)  # noqa: T201
    until = now + dt.timedelta(hours=hours)
    print(_next_steps(settings.listen, herd, fingerprint, until), file=sys.stderr)  # noqa: T201
    return 0


def _next_steps(listen: str, herd: str, fingerprint: str, until: dt.datetime) -> str:
    host, _, port = listen.rpartition(":")
    here = host.strip("[]") in ("localhost", "::1") or host.startswith("127.")
    if here or host.strip("[]") in ("", "0.0.0.0", "::"):  # noqa: S104  (read, not listened on)
        host = socket.gethostname()
    lines = [
        f"It enrols one host of herd {herd}, until {until:%Y-%m-%d %H:%M} UTC.",
        "On that host, as the user that the agent runs as:",
        f"  {AGENT} enrol https://{host}:{port} --token - --ca-sha256 {fingerprint}",
        "and paste the token. Then start the agent there (docs/how-to/install-the-agent.md).",
    ]
    if here:
        lines.append(
            f"Now the authority listens on {listen} only, where no other machine reaches it: serve "
            "it by `nightherd up --all-addresses` or with NIGHTHERD_ENROLMENT_LISTEN "
            "(docs/how-to/enrol-a-host.md)."
        )
    return "\n".join(lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="enrolment", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    token = commands.add_parser("token", help="make a token that enrols one host")
    token.add_argument("--herd", default="default", help="herd of the host")
    token.add_argument("--hours", type=float, default=24, help="how long it may be used")
    arguments = parser.parse_args()
    settings = load(Settings)
    if arguments.command == "token":
        sys.exit(print_token(settings, arguments.herd, arguments.hours))
    logs.configure("enrolment", settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
