"""What nobody should send, what does not answer, and what the API says of itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import ADMIN, PASSWORD

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"username": "admin"}',
        b'{"username": 1, "password": 2}',
        b'{"username": {"$ne": ""}, "password": "x"}',
        b'{"username": "\\ud800", "password": "x"}',
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b'{"username": "' + b"x" * 5000 + b'", "password": "x"}',
    ],
)
async def test_a_body_that_is_none_is_a_clear_400(api, body):
    answer = await api.client.post("/authenticate", content=body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]


async def test_a_large_body_is_refused_before_it_is_read(api):
    async def endless():
        for _ in range(10_000):
            yield b"x" * 10_000

    answer = await api.client.post("/authenticate", content=b"x" * 100_000)
    assert answer.status_code == 413
    answer = await api.client.post("/profiles/service/x/learn", content=endless(), auth=ADMIN)
    assert answer.status_code == 413


async def test_a_name_with_nul_or_like_an_operator_logs_nobody_in(api):
    for name in ("admin\0", "$where", "{}"):
        answer = await api.client.post("/authenticate", json={"username": name, "password": "x"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/forensic/activities/", "/nightherd/custody/%00"]
)
async def test_what_is_not_there_is_a_problem(api, path):
    answer = await api.get(path)
    assert answer.status_code in (400, 404)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_methods_that_are_not_there_are_a_problem(api):
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        answer = await api.client.request(method, "/forensic/activities", auth=ADMIN)
        assert answer.status_code == 405
        assert answer.json()["status"] == 405


async def test_every_answer_has_the_security_headers(api):
    for answer in (
        await api.get("/forensic/activities"),
        await api.get("/forensic/activities/download"),
        await api.client.get("/forensic/activities"),
        await api.get("/nothing"),
        await api.client.get("/_ping"),
    ):
        assert HEADERS.items() <= {k: answer.headers.get(k) for k in HEADERS}.items()
        assert "server" not in answer.headers


async def test_a_query_longer_than_any_head_ends_the_connection_not_the_gateway(api):
    answer = await api.get("/forensic/activities", search="x" * 60_000)
    assert answer.status_code in (400, 431)
    assert (await api.get("/version")).status_code == 200


@settings(max_examples=25)
@given(
    name=st.sampled_from(["type", "user", "from", "limit", "offset", "sort", "reverse", "fields"]),
    value=st.text(max_size=40),
)
async def test_no_value_of_any_query_is_an_error_on_our_side(api, name, value):
    value = value.encode("utf-8", "replace").decode()
    answer = await api.get("/forensic/activities", **{name: value})
    assert answer.status_code in (200, 400), answer.text


async def test_services_that_do_not_answer_are_named_and_may_be_asked_again(start):
    async with start() as api:
        for path, peer in (
            ("/forensic/activities", "store"),
            ("/forensic/activities/download", "store"),
            ("/nightherd/batches?host=x", "store"),
            ("/profiles/service", "modeler"),
            ("/profiles/service/download", "modeler"),
        ):
            answer = await api.client.get(path, auth=ADMIN)
            assert answer.status_code == 503, path
            assert answer.headers["Retry-After"]
            assert answer.json()["peer"] == peer
            assert peer in answer.json()["detail"]
        assert (await api.get("/version")).status_code == 200
        assert set((await api.rows("/nightherd/health")).values()) == {"unreachable"}


async def test_nobody_is_let_in_before_the_database_answered(certificates, free_port):
    from chassis import mongo
    from gateway.auth import Authentication
    from gateway.problems import ProblemError
    from gateway.repository import Repository
    from gateway.settings import Settings

    url = f"mongodb://127.0.0.1:{free_port}/?serverSelectionTimeoutMS=200"
    client = mongo.connect(url)
    options = {"tls_dir": certificates / "gateway", "NIGHTHERD_MONGO_URL": url}
    authentication = Authentication(Repository(client["none"]), Settings(**options))
    with pytest.raises(ProblemError) as refusal:
        await authentication.check("admin", PASSWORD, "127.0.0.1")
    assert refusal.value.status == 503
    authentication.close()
    client.close()


async def test_the_api_describes_itself_completely(api):
    document = await api.rows("/openapi.json")
    assert document["openapi"].startswith("3.1")
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            ids.append(operation["operationId"])
            assert operation["summary"]
            assert "422" not in operation["responses"]
            assert "200" in operation["responses"]
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            for parameter in operation.get("parameters", []):
                assert parameter["schema"]["type"]
            if method == "post":
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                assert schema["properties"]
    assert len(ids) == len(set(ids))
    assert not _dangling(document, document)
    assert document["paths"]["/api/v1/_ping"]["get"]["security"] == []
    columns = document["paths"]["/api/v1/forensic/activities/download"]["get"]["responses"]["200"]
    assert "modifiedFiles" in columns["content"]["text/csv"]["schema"]["description"]


def _dangling(part, document):
    found = []
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str):
            place = document
            for step in reference.removeprefix("#/").split("/"):
                place = place.get(step, {})
            if not place:
                found.append(reference)
        for value in part.values():
            found += _dangling(value, document)
    elif isinstance(part, list):
        for value in part:
            found += _dangling(value, document)
    return found


async def test_who_asks_for_the_version_gets_a_string(api):
    assert isinstance(await api.rows("/version"), str)


PROJECTED = (
    *("forensic/activities", "forensic/activities/download", "audits/runtime/host"),
    *("audits/runtime/host/download", "profiles/service", "profiles/service/download"),
    *("profiles/host", "profiles/host/download", "audits/mgmt", "audits/mgmt/download"),
    *("nightherd/hosts", "nightherd/gaps", "nightherd/events", "nightherd/timeline"),
    "nightherd/incidents",
)


@pytest.mark.parametrize("endpoint", PROJECTED)
async def test_a_field_that_does_not_exist_is_refused_with_those_that_do(api, endpoint):
    answer = await api.get(f"/{endpoint}", fields="hostname,nope")
    assert answer.status_code == 400
    said = answer.json()["detail"]
    assert said.startswith("fields: ")
    assert "is unknown; known are " in said
    last = {"nightherd/events": "argumentsCut", "audits/runtime/host": "modelRevision"}
    assert last.get(endpoint, "") in said
