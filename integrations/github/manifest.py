"""The GitHub App that onhand needs: its permissions, its events, and the manifest that makes one. Pure.

https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from collections.abc import Mapping

from bot.core.platform import endpoint

PERMISSIONS: Mapping[str, str] = {
    "metadata": "read",
    "contents": "write",
    "issues": "write",
    "pull_requests": "write",
    "checks": "write",
}
"""What the App asks for, and a token gets of it in the one repository that it is for."""

EVENTS = ("issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment", "check_run")


def manifest(name: str, public_url: str, back: str) -> dict[str, object]:
    """Return the manifest of an App for the onhand at `public_url`; GitHub leads the browser on to `back` afterwards."""
    return {
        "name": name,
        "url": public_url,
        "hook_attributes": {"url": endpoint(public_url, "github"), "active": True},
        "redirect_url": back,
        "public": False,
        "default_permissions": dict(PERMISSIONS),
        "default_events": list(EVENTS),
    }
