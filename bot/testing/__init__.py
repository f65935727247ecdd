"""Public stand-ins and contracts for tests, ours and a stranger's package's: models, sandboxes, logs."""
