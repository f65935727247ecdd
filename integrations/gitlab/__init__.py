"""GitLab: webhook.py reads what comes in, replies.py words what goes out, client.py does it by api.py, code.py finds the code."""
