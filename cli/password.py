"""The first password of the user admin."""

import os
import secrets

from cli.homes import Home


def admin_password(home: Home) -> str:
    """Return the first password: NIGHTHERD_ADMIN_PASSWORD, else the one made at the first start."""
    given = os.environ.get("NIGHTHERD_ADMIN_PASSWORD", "")
    path = home.password_file
    if not given and path.exists():
        return path.read_text(encoding="utf-8").strip()
    password = given or secrets.token_urlsafe(15)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o600)  # the mode above is for a new file only
        file.write(f"{password}\n")
    return password
