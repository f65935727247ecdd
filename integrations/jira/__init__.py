"""Jira: webhook.py reads what comes in, replies.py says what goes out, client.py does it by api.py; adf.py and wiki.py: markup."""
