"""Who did something, by name; by number where the name is not known (logs tell numbers only)."""

from nightherd.event.v1 import event_pb2 as events


def person_of(image: events.Image) -> str:
    """Return who logged in; "" where nobody did."""
    if image.login_user:
        return image.login_user
    return str(image.login_user_id) if image.HasField("login_user_id") else ""


def effective_of(image: events.Image) -> str:
    """Return whose rights it had; "" where neither name nor number is known."""
    return image.user or (str(image.effective_user_id) if image.effective_user_id else "")


def user_of(image: events.Image) -> str:
    """Return who logged in, else whose rights it had."""
    return person_of(image) or effective_of(image)


def born_of(born: events.BornFrom) -> str:
    """Return who had it started, or left it running; "" where nobody is known."""
    if born.login_user:
        return born.login_user
    return str(born.login_user_id) if born.HasField("login_user_id") else ""
