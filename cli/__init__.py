"""The command line: runs things on this machine and asks the gateway."""
