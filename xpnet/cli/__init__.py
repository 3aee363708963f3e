"""The command `xpnet`."""

from xpnet.cli.app import main

__all__ = ["main"]
