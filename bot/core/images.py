"""Which images a model is shown: their limits, and what their bytes say that they are. Pure.

Neither a file's name nor the type that somebody claims for it counts.
"""

from base64 import b64encode

from bot.core.errors import UserError

MOST = 4
"""Images of a conversation that are shown, the newest ones."""

LARGEST = 2_000_000
"""Bytes of one image. As text it is a third longer, of which Anthropic takes 5 MiB; four fit into the smallest limit on a
request, Gemini's 20 MB: https://docs.claude.com/en/docs/build-with-claude/vision
"""

LEFT_OUT, REFUSED = "images_left_out", "images_refused"
"""Reasons of the Notice that says which images are not looked at: some that we leave out, or all, as the model takes none."""

_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def as_url(data: bytes) -> str:
    """Return an image as a data URL (RFC 2397). Raises UserError, whose text says in a few words why it cannot be shown."""
    if not data:
        raise UserError("missing", "could not be fetched")
    if len(data) > LARGEST:
        raise UserError("too_large", f"larger than {LARGEST // 1_000_000} MB")
    if not (kind := _kind(data)):
        raise UserError("no_image", "no PNG, JPEG, GIF or WebP")
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _kind(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), "")
