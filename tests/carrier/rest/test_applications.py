"""Call Control applications of the fake, read by plain requests (protocol.md 3)."""

from __future__ import annotations

import httpx

from tests.carrier.rest.raw import raw

FIELDS = {
    *("id", "application_name", "active", "webhook_event_url", "webhook_event_failover_url"),
    *("webhook_api_version", "webhook_timeout_secs"),
    *("first_command_timeout", "first_command_timeout_secs"),
}


async def test_applications_are_listed_and_read_one_by_one() -> None:
    """The list is an array, one is an object; both need the key."""
    async with raw() as r, httpx.AsyncClient(trust_env=False) as http:
        url = r.fake.base_url + "/call_control_applications"
        key = {"authorization": f"Bearer {r.fake.api_key}"}
        [listed] = (await http.get(url, headers=key)).json()["data"]
        assert set(listed) >= FIELDS
        one = await http.get(f"{url}/{listed['id']}", headers=key)
        assert one.json() == {"data": listed}
        missing = await http.get(f"{url}/1", headers=key)
        assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "10005")
        for path in (url, f"{url}/1"):
            refused = await http.get(path)
            assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "10009")
