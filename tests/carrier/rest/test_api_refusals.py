"""What the fake refuses, in the form of protocol.md 3."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.carrier.rest.world import World, world


async def post(w: World, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {w.fake.api_key if key is None else key}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient() as http:
        reply = await http.post(w.fake.base_url + path, content=content, headers=headers)
    return reply.status_code, reply.json()


async def test_the_error_bodies_are_telnyx_s() -> None:
    """Each refusal has the status, code and form of protocol.md 3."""
    async with world() as w:
        for key in ("none", "wrong", w.fake.api_key + "x"):
            status, body = await post(w, "/calls", {}, key)
            assert (status, body["errors"][0]["code"]) == (401, "10009")
        assert body == {
            "errors": [
                {
                    "code": "10009",
                    "title": "Authentication failed",
                    "detail": "Authentication failed.",
                    "meta": {},
                }
            ]
        }
        for path, code in (("/nothing", "10005"), ("/calls/v3:x/actions/dance", "10005")):
            status, body = await post(w, path, {})
            assert (status, body["errors"][0]["code"]) == (404, code)
        status, body = await post(w, "/calls/v3:x/actions/hangup", {})
        assert (status, body["errors"][0]["code"]) == (422, "90015")
        assert body["errors"][0]["source"] == {"pointer": "/call_control_id"}


@pytest.mark.parametrize(
    ("action", "body", "pointer"),
    [
        ("hangup", {"client_state": "not base64"}, "/client_state"),
        ("hangup", {"client_state": 7}, "/client_state"),
        ("hangup", {"unknown": 7}, "/unknown"),
        ("hangup", [], "/body"),
        ("hangup", b"{", "/body"),
        ("streaming_start", {}, "/stream_url"),
        ("streaming_start", {"stream_url": "http://a"}, "/stream_url"),
        ("streaming_start", {"stream_url": "wss://a", "stream_codec": "x"}, "/stream_codec"),
        (
            "streaming_start",
            {"stream_url": "wss://a", "custom_parameters": {"a": "b"}},
            "/custom_parameters",
        ),
        ("fork_start", {"rx": "nowhere"}, "/rx"),
        ("answer", {"stream_auth_token": "T"}, "/stream_auth_token"),
    ],
)
async def test_a_wrong_body_is_refused_naming_the_field(
    action: str, body: Any, pointer: str
) -> None:
    """The fake takes only what Telnyx documents, whoever sends it."""
    async with world() as w:
        status, answer = await post(w, f"/calls/v3:x/actions/{action}", body)
        assert status == 422
        assert answer["errors"][0]["source"] == {"pointer": pointer}
