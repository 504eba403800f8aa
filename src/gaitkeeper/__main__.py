"""``python -m gaitkeeper``: the command line."""

from gaitkeeper.cli import main

main()
