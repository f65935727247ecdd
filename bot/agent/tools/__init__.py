"""What the agent can do: one tool a file. They are found by entry point (`onhand.tools`), as a stranger's are."""
