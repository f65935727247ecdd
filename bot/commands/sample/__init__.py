"""The demo's sample: a tiny repository with a failing test, and the script that plays the model's part in mending it."""
