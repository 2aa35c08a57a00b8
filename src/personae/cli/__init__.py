"""The command ``personae``: parse, call, print; exit 0 done, 1 failed, 2 wrong request."""

from personae.cli.app import main

__all__ = ["main"]
