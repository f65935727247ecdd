"""The limit of what an endpoint can do here: a bare ASGI app under uvicorn that checks a body's HMAC and answers.

A program: python limit.py PORT SECRET
"""

import hashlib
import hmac
import sys
from typing import Any

import uvicorn


def limit(secret: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        chunks, more = [], True
        while more:
            message = await receive()
            chunks.append(message["body"])
            more = message["more_body"]
        given = dict(scope["headers"]).get(b"x-hub-signature-256", b"")
        expected = b"sha256=" + hmac.digest(secret, b"".join(chunks), hashlib.sha256).hex().encode()
        status = 200 if hmac.compare_digest(expected, given) else 401
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    return app


if __name__ == "__main__":
    port, secret = sys.argv[1:]
    app = limit(secret.encode())
    uvicorn.run(app, port=int(port), lifespan="off", access_log=False, log_level="warning", server_header=False)
