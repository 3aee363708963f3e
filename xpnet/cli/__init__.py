"""The command `xpnet`."""
