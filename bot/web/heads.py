"""What uvicorn does not limit: how much of a request is kept that is not body, above all a head without an end."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024
"""Bytes. GitHub's head has one thousand, and nginx lets 32 thousand through."""


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol. A request is refused with 400 when more than LONGEST_HEAD bytes bring neither its head to an end nor
    any of its body: httptools would keep them all, and copy them at each piece that comes.
    """

    _fruitless = 0

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        super().data_received(data)
        if self._fruitless > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"expected at most {LONGEST_HEAD} bytes of head")

    def on_headers_complete(self) -> None:
        self._fruitless = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless = 0
        super().on_message_complete()
