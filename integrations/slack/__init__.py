"""Slack: mentions, direct messages, threads, the slash command and buttons, over HTTP or Socket Mode."""
