"""What goes wrong on a command line, said in a sentence."""


class UpError(Exception):
    """It cannot start; says why and what to do."""
