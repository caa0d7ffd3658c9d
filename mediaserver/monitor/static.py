"""Pages for a browser, from files of the package: no build step, nothing from elsewhere.

The files are read once, so that no request touches the disk or names a path. The policy lets a
page load scripts, styles and data from this server alone, and nothing that stands in the HTML:
a text that came from a call cannot become a script.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

PAGES = Path(__file__).parent / "page"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wav": "audio/wav",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
INDEX = "index.html"


class _File(NamedTuple):
    body: bytes
    media_type: str
    tag: str


def static_routes(prefix: str, folder: Path) -> list[Route]:
    """Serve the files of a folder below ``prefix``; ``prefix/`` is its ``index.html``.

    Args:
        prefix: such as ``/live``; it leads to ``/live/``.
        folder: with what is in its folders; files of other kinds than a page needs are left out.
    """
    files = {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES
    }

    async def slash(_: Request) -> Response:
        # Relative: a proxy may have put something in front of the path.
        return RedirectResponse(f"{prefix.rpartition('/')[2]}/", 307)

    async def page(request: Request) -> Response:
        return _answer(files.get(request.path_params["name"] or INDEX), request)

    return [
        Route(prefix, slash, methods=["GET"]),
        Route(prefix + "/{name:path}", page, methods=["GET"]),
    ]


def _read(path: Path) -> _File:
    body = path.read_bytes()
    return _File(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _answer(file: _File | None, request: Request) -> Response:
    if file is None:
        return Response("There is no such page.\n", 404, media_type="text/plain")
    fields = {
        "ETag": file.tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=fields)
    return Response(file.body, headers=fields, media_type=file.media_type)
