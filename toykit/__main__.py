"""`python -m toykit` is the command line."""

from toykit.cli import main

main()
