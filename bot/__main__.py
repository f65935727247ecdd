"""`python -m bot` is `onhand`."""

from bot.cli import main

main()
