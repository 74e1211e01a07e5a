"""GET /api/audit: filters, pages, and nothing that opens anything."""

from tests.api.office import Office


def test_pages_are_complete_and_ordered_and_filters_hold(office: Office) -> None:
    header = office.key("audit:read")
    for _ in range(4):
        office.key("status:read")
    asked = {"operation": "key", "limit": 2}
    seen: list[int] = []
    cursor = None
    while True:
        page = office.http.get(
            "/api/audit", params=asked | ({"cursor": cursor} if cursor else {}), headers=header
        ).json()
        assert {one["operation"] for one in page["items"]} <= {
            "key.create",
            "key.change",
            "key.revoke",
            "key.rotate",
        }
        seen += [one["entry_no"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) >= 5
    assert seen == sorted(set(seen), reverse=True)
    everything = office.http.get("/api/audit", params={"limit": 500}, headers=header)
    assert header["Authorization"].removeprefix("Bearer ") not in everything.text
    assert (
        office.http.get(
            "/api/audit", params={"status": "error", "operation": "key"}, headers=header
        ).json()["items"]
        == []
    )
    other = office.http.get("/api/audit", params={"cursor": "abc"}, headers=header)
    assert other.status_code == 400
    assert (
        office.http.get("/api/audit", params={"since": "soon"}, headers=header).status_code == 422
    )
