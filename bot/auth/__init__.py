"""Who may use the service: one strategy a file, and the signed tickets that they share."""
