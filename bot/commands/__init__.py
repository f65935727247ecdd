"""What the commands do, a file for each kind. They are doors, as `bot.cli` is: imported by it alone, when they are called."""
