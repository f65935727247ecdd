"""The web process: one door for webhooks, the REST API, and what operators look at."""
