"""Answers plain HTTP requests that come to a WebSocket port by a web application."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message
from websockets.datastructures import Headers
from websockets.http11 import Request, Response


async def answer(app: ASGIApp, request: Request) -> Response:
    """Return what the application answers to a GET request without a body."""
    target = urlsplit(request.path)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(target.path),
        "raw_path": target.path.encode("latin-1", "replace"),
        "query_string": target.query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in request.headers.raw_items()
        ],
        "client": None,
        "server": None,
    }
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        said.append(message)

    await app(scope, receive, send)
    status = HTTPStatus(said[0]["status"])
    headers = Headers(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in said[0]["headers"]
    )
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Connection"] = "close"
    body = b"".join(message.get("body", b"") for message in said[1:])
    return Response(status.value, status.phrase, headers, body)


def plain(status: HTTPStatus, text: str) -> Response:
    """Return an answer of one line."""
    body = f"{text}\n".encode()
    headers = Headers(
        {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)
