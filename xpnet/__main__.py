"""``python -m xpnet`` is the command `xpnet`."""

from xpnet.cli import main

main()
