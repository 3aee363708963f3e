"""``python -m xpnet`` is the command `xpnet`."""

from xpnet.cli.app import main

main()
