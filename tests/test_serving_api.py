"""The lookup API over real sockets: a granian server in a process of its own, asked with httpx."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.serving_places import KINDS, LmdbPlace, Place
from warehouse.serving.api import create_app
from warehouse.serving.lists import CustomerList
from warehouse.serving.publish import Gates, publish, rollback
from warehouse.serving.store import Manifest, ServingStore
from warehouse.settings import load_settings

pytestmark = pytest.mark.process

ANY = Gates(max_vanished=1, max_changed=1, max_lines_replaced=1)
ODD_ID = "ünï/c öde?%2F&#"


def put(
    store: ServingStore, month: str, customers: list[str], product: str = "a", expires: timedelta = timedelta(days=45)
) -> Manifest:
    now = datetime.now(UTC)
    item = {
        "rank": 1,
        "product_id": product,
        "name": "Milk, 1 gal",
        "quantity": 1,
        "cadence_days": 7,
        "next_due_date": date(2026, 9, 9),
        "probability": 0.9,
        "reason_code": "due",
        "reason": "Bought every 7 days.",
        "price_usd": None,
        "need": "MILK",
        "need_probability": 0.95,
        "alternates": [],
    }
    lists = ((customer, [item]) for customer in customers)
    return publish(store, month, lists, generated_at=now, expires_at=now + expires, gates=ANY).live


@dataclass
class Server:
    """A running server, a client of it, and the store that it serves."""

    client: httpx.Client
    store: ServingStore
    log: Path


@contextmanager
def running(place: Place, folder: Path, *arguments: str, keys: str = "") -> Iterator[Server]:
    """Serves the place's store on a free port until the block ends; ``folder`` is the home."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"REPLENISH_HOME": str(folder), "REPLENISH_API_KEYS": keys}
    environment |= place.environment
    log = folder / "api.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "warehouse.serving.api", "--port", str(port), *arguments],
            cwd=Path(__file__).parents[1],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            eventually(lambda: answers(client), 60)
            yield Server(client, place.open(), log)
    finally:
        process.terminate()
        process.wait(20)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module", params=KINDS)
def served(
    request: pytest.FixtureRequest,
    place_of: Callable[[str, Path], Place],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server with one published version that no test changes; each test that takes it runs on every kind of store."""
    folder = tmp_path_factory.mktemp("api")
    place = place_of(request.param, folder)
    with pytest.MonkeyPatch.context() as patch:
        use(place, patch)
        put(place.open(), "2026-08", ["2375", ODD_ID, *map(str, range(1_000))])
        with running(place, folder) as server:
            yield server


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest,
    place_of: Callable[[str, Path], Place],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """An empty place for a store."""
    made = place_of(request.param, tmp_path)
    use(made, monkeypatch)
    return made


def use(place: Place, patch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        patch.setenv(name, value)


def problem(answer: httpx.Response, status: int, kind: str) -> dict:
    """The problem document of an answer, checked for its form."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"] == (kind if kind == "about:blank" else f"urn:replenish:problem:{kind}")
    assert body["instance"] == answer.request.url.raw_path.decode().split("?")[0]
    assert body["title"]
    assert body["detail"]
    return body


def test_a_list_comes_with_its_version_as_etag(served: Server):
    live = served.store.live()
    answer = served.client.get("/v1/customers/2375/subscribe-save")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["etag"] == f'"{live.version}"'
    assert answer.headers["cache-control"] == "private, no-cache"
    found = CustomerList.model_validate_json(answer.content)
    assert (found.customer_id, found.month, found.version) == ("2375", "2026-08", live.version)
    assert (found.generated_at, found.expires_at) == (live.generated_at, live.expires_at)
    assert answer.content == served.store.get("2375")


@pytest.mark.parametrize("sent", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_an_unchanged_list_is_not_sent_again(served: Server, sent: str):
    tag = sent.format(served.store.live().version)
    answer = served.client.get("/v1/customers/2375/subscribe-save", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{served.store.live().version}"'


def test_another_etag_or_an_unknown_customer_is_not_304(served: Server):
    other = {"If-None-Match": '"2026-07-000000000000"'}
    assert served.client.get("/v1/customers/2375/subscribe-save", headers=other).status_code == 200
    problem(
        served.client.get("/v1/customers/none/subscribe-save", headers={"If-None-Match": "*"}), 404, "unknown-customer"
    )


def test_ids_are_percent_decoded_once(served: Server):
    coded = "%C3%BCn%C3%AF%2Fc%20%C3%B6de%3F%252F%26%23"
    answer = served.client.get(f"/v1/customers/{coded}/subscribe-save")
    assert answer.json()["customer_id"] == ODD_ID


def test_an_unknown_customer_is_a_problem(served: Server):
    for missing in ("no-such-customer", "a%2Fb", "x" * 600, "%FF", ""):
        body = problem(served.client.get(f"/v1/customers/{missing}/subscribe-save"), 404, "unknown-customer")
        assert served.store.live().version in body["detail"]


def test_head_has_the_headers_of_get(served: Server):
    for path in ("/v1/customers/2375/subscribe-save", "/v1/version", "/healthz", "/readyz", "/nope"):
        got, head = served.client.get(path), served.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        for name in ("content-type", "content-length", "etag"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)


def test_a_batch_is_answered_in_order_from_one_version(served: Server):
    answer = served.client.post("/v1/subscribe-save:batch", json={"customer_ids": ["7", "nobody", ODD_ID, "7", "é"]})
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert body["version"] == served.store.live().version
    assert [one["customer_id"] for one in body["lists"]] == ["7", ODD_ID]
    assert body["missing"] == ["nobody", "é"]
    assert body["lists"][0] == served.client.get("/v1/customers/7/subscribe-save").json()


def test_a_batch_takes_a_thousand_ids(served: Server):
    ids = [str(number) for number in range(1_000)]
    full = served.client.post("/v1/subscribe-save:batch", json={"customer_ids": ids}).json()
    assert ([one["customer_id"] for one in full["lists"]], full["missing"]) == (ids, [])
    empty = served.client.post("/v1/subscribe-save:batch", json={"customer_ids": []}).json()
    assert (empty["lists"], empty["missing"]) == ([], [])

    body = problem(
        served.client.post("/v1/subscribe-save:batch", json={"customer_ids": [*ids, "one more"]}),
        422,
        "invalid-request",
    )
    assert body["errors"][0]["pointer"] == "/body/customer_ids"
    assert "at most 1000 items" in body["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (b"{", "/body"),
        (b"[]", "/body"),
        (b"{}", "/body/customer_ids"),
        (b'{"customer_ids": [5]}', "/body/customer_ids/0"),
        (b'{"customer_ids": ["\\ud800"]}', "/body/customer_ids/0"),
        (b'{"customer_ids": [], "limit": 3}', "/body/limit"),
    ],
)
def test_an_invalid_batch_says_where(served: Server, content: bytes, pointer: str):
    headers = {"content-type": "application/json"}
    body = problem(
        served.client.post("/v1/subscribe-save:batch", content=content, headers=headers), 422, "invalid-request"
    )
    assert body["errors"][0]["pointer"] == pointer


def test_a_body_without_end_is_refused(served: Server):
    pieces = (b" " * 65_536 for _ in range(64))
    headers = {"content-type": "application/json"}
    problem(served.client.post("/v1/subscribe-save:batch", content=pieces, headers=headers), 413, "body-too-large")


def test_unknown_routes_and_methods_are_problems(served: Server):
    problem(served.client.get("/nope"), 404, "about:blank")
    problem(served.client.get("/v1/version/"), 404, "about:blank")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = served.client.request(method, "/v1/customers/2375/subscribe-save")
        problem(answer, 405, "about:blank")
        assert answer.headers["allow"] == "GET, HEAD"
    assert served.client.get("/v1/subscribe-save:batch").headers["allow"] == "POST"


def test_version_says_what_is_live_and_how_old_it_is(served: Server):
    live = served.store.live()
    body = served.client.get("/v1/version").json()
    age = (datetime.now(UTC) - live.generated_at).total_seconds()
    assert (body["version"], body["month"], body["customers"], body["lines"]) == (live.version, "2026-08", 1002, 1002)
    assert age - 2 <= body["age_seconds"] <= age + 1
    assert served.client.get("/readyz").json()["version"] == live.version


def test_openapi_describes_every_route_with_models_and_examples(served: Server):
    document = served.client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/customers/{customer_id}/subscribe-save",
        "/v1/subscribe-save:batch",
        "/v1/version",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    lookup = document["paths"]["/v1/customers/{customer_id}/subscribe-save"]["get"]
    assert set(lookup["responses"]) == {"200", "304", "401", "404", "503"}
    found = lookup["responses"]["200"]["content"]["application/json"]
    assert found["schema"] == {"$ref": "#/components/schemas/CustomerList"}
    CustomerList.model_validate(found["example"])
    assert "application/problem+json" in lookup["responses"]["404"]["content"]
    assert set(document["components"]["schemas"]["ListItem"]["required"]) >= {"rank", "product_id", "reason"}
    assert "swagger" in served.client.get("/docs").text


def test_metrics_count_by_route_and_hold_no_ids(served: Server):
    def count() -> float:
        name = 'replenish_http_requests_total{route="/v1/customers/{customer_id}/subscribe-save",status="200"}'
        found = [entry for entry in served.client.get("/metrics").text.splitlines() if entry.startswith(name)]
        return float(found[0].split()[-1]) if found else 0.0

    before = count()
    for _ in range(3):
        served.client.get("/v1/customers/2375/subscribe-save")
    assert count() == before + 3
    text = served.client.get("/metrics").text
    assert "2375" not in text
    assert f'replenish_version_info{{month="2026-08",version="{served.store.live().version}"}} 1.0' in text
    assert "replenish_version_customers 1002.0" in text
    assert 'replenish_http_request_seconds_bucket{le="0.001",route="/v1/version"}' in text


def test_the_log_holds_no_customer_id(served: Server):
    served.client.get("/v1/customers/secret-customer/subscribe-save")
    served.client.put("/v1/customers/secret-customer/subscribe-save")
    served.client.post("/v1/subscribe-save:batch", json={"customer_ids": ["secret-customer"], "x": 1})
    log = served.log.read_text()
    assert "Started worker-1" in log
    assert "secret-customer" not in log


def test_from_nothing_published_to_rollback_without_a_restart(place: Place, tmp_path: Path):
    with running(place, tmp_path) as server:
        get = server.client.get
        body = problem(get("/readyz"), 503, "nothing-published")
        assert "python -m jobs.publish --month" in body["detail"]
        problem(get("/v1/version"), 503, "nothing-published")
        problem(get("/v1/customers/ann/subscribe-save"), 503, "nothing-published")
        assert "replenish_version_live 0.0" in get("/metrics").text
        assert place.is_empty(), "the API writes nothing"

        august = put(server.store, "2026-08", ["ann", "bob"], "a")
        eventually(lambda: get("/readyz").status_code == 200)
        assert get("/v1/customers/bob/subscribe-save").json()["version"] == august.version

        september = put(server.store, "2026-09", ["ann"], "b")
        eventually(lambda: get("/v1/version").json()["version"] == september.version)
        answer = get("/v1/customers/ann/subscribe-save", headers={"If-None-Match": f'"{august.version}"'})
        assert (answer.status_code, answer.json()["month"]) == (200, "2026-09")
        problem(get("/v1/customers/bob/subscribe-save"), 404, "unknown-customer")

        rollback(server.store, august.version)
        eventually(lambda: get("/v1/version").json()["version"] == august.version)
        assert get("/v1/customers/bob/subscribe-save").status_code == 200

        put(server.store, "2026-10", ["ann"], "c", expires=-timedelta(days=1))
        eventually(lambda: get("/v1/version").json()["month"] == "2026-10")
        problem(get("/readyz"), 503, "version-expired")
        assert get("/v1/customers/ann/subscribe-save").status_code == 200, "an expired list is still served"


def test_no_answer_mixes_versions_during_switches(place: Place, tmp_path: Path):
    names = [f"c{number}" for number in range(100)]
    with running(place, tmp_path) as server:
        product_of = {
            put(server.store, f"2026-0{n}", names, product).version: product for n, product in ((7, "a"), (8, "b"))
        }
        stop, failures, seen = threading.Event(), [], set()

        def ask() -> None:
            with httpx.Client(base_url=server.client.base_url) as client:
                while not stop.is_set():
                    body = client.post("/v1/subscribe-save:batch", json={"customer_ids": names}).json()
                    found = {(one["version"], one["items"][0]["product_id"]) for one in body["lists"]}
                    single = client.get("/v1/customers/c1/subscribe-save")
                    seen.update(found)
                    if found != {(body["version"], product_of.get(body["version"]))} or len(body["lists"]) != 100:
                        failures.append(found)
                    if single.headers["etag"] != f'"{single.json()["version"]}"':
                        failures.append(single.headers["etag"])

        with ThreadPoolExecutor(3) as pool:
            try:
                clients = [pool.submit(ask) for _ in range(3)]
                turn, until = 0, time.monotonic() + 30
                while turn < 20 or (len(seen) < len(product_of) and time.monotonic() < until):
                    rollback(server.store, list(product_of)[turn % 2])
                    # Uneven, lest a server that looks at even times finds the same version each time.
                    time.sleep(0.1 + 0.03 * (turn % 5))
                    turn += 1
            finally:
                stop.set()
        for client in clients:
            client.result()
        assert failures == []
        assert seen == set(product_of.items())


def test_keys_and_metrics_of_several_workers(tmp_path: Path):
    place = LmdbPlace(tmp_path)
    put(place.open(), "2026-08", ["ann"])
    with running(place, tmp_path, "--workers", "2", keys="first-key, second-key") as server:
        for headers in ({}, {"X-API-Key": "first"}, {"X-API-Key": "first-key, second-key"}):
            for path in ("/v1/customers/ann/subscribe-save", "/v1/version", "/nope"):
                body = problem(server.client.get(path, headers=headers), 401, "api-key")
                assert "X-API-Key" in body["detail"]
            answer = server.client.post("/v1/subscribe-save:batch", json={"customer_ids": ["ann"]}, headers=headers)
            problem(answer, 401, "api-key")
        for key in ("first-key", "second-key"):
            for _ in range(10):
                # A connection each, so that both workers get some.
                answer = httpx.get(
                    f"{server.client.base_url}/v1/customers/ann/subscribe-save", headers={"X-API-Key": key}
                )
                assert answer.status_code == 200
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert server.client.get(path).status_code == 200, path
        counted = 'replenish_http_requests_total{route="/v1/customers/{customer_id}/subscribe-save",status="200"} 20.0'
        for _ in range(3):
            assert counted in httpx.get(f"{server.client.base_url}/metrics").text
        assert "first-key" not in server.log.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_hot_path_answers_as_the_declared_route_does(
    kind: str, place_of: Callable[[str, Path], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    filled, empty = place_of(kind, tmp_path), place_of(kind, tmp_path / "empty")
    use(filled, monkeypatch)
    version = put(filled.open(), "2026-08", ["ann", ODD_ID]).version
    requests = [
        (method, path, headers)
        for method in ("GET", "HEAD", "POST")
        for path in (
            "/v1/customers/ann/subscribe-save",
            "/v1/customers/%C3%BCn%C3%AF%2Fc%20%C3%B6de%3F%252F%26%23/subscribe-save",
            "/v1/customers/none/subscribe-save",
            "/v1/customers//subscribe-save",
            "/v1/customers/ann/subscribe-save/",
            "/v1/customers/subscribe-save",
        )
        for headers in ({}, {"If-None-Match": f'"{version}"'}, {"If-None-Match": '"x"'})
    ]

    async def ask(hot_path: bool) -> list[tuple]:
        app = create_app(load_settings(), hot_path=hot_path)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            got = [await client.request(method, path, headers=headers) for method, path, headers in requests]
        return [(one.status_code, sorted(one.headers.items()), one.content) for one in got]

    for place in (filled, empty):
        use(place, monkeypatch)
        hot, declared = asyncio.run(ask(True)), asyncio.run(ask(False))
        for request, one, other in zip(requests, hot, declared, strict=True):
            assert one == other, request
        statuses = {status for status, _, _ in hot}
        assert statuses == ({200, 304, 404, 405} if place is filled else {404, 405, 503})


def test_a_store_that_cannot_be_read_is_a_problem_and_heals(
    place_of: Callable[[str, Path], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = place_of("dynamodb", tmp_path)
    use(place, monkeypatch)
    put(place.open(), "2026-08", ["ann"])
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("REPLENISH_DYNAMODB_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        app = create_app(load_settings(home=tmp_path))
        requests = (
            ("GET", "/v1/customers/ann/subscribe-save", None),
            ("POST", "/v1/subscribe-save:batch", {"customer_ids": ["ann"]}),
            ("GET", "/v1/version", None),
            ("GET", "/readyz", None),
        )

        async def ask() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as client:
                return [await client.request(method, path, json=body) for method, path, body in requests]

        for answer in asyncio.run(ask()):
            assert "does not answer" in problem(answer, 503, "store-unavailable")["detail"]
            assert answer.headers["retry-after"] == "5"
    # The same process, once the server is back; the port is another one, so the client is told.
    app._store._table.client = place.table.client
    assert [answer.status_code for answer in asyncio.run(ask())] == [200, 200, 200, 200]


def test_a_wrong_setting_ends_the_command_with_one_line(tmp_path: Path):
    nowhere = {name: str(tmp_path / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    without = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REPLENISH_"))}
    done = subprocess.run(
        [sys.executable, "-m", "warehouse.serving.api"],
        cwd=Path(__file__).parents[1],
        env=without | nowhere | {"REPLENISH_HOME": str(tmp_path), "REPLENISH_SERVING": "dynamodb:lists"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: REPLENISH_SERVING is 'dynamodb:lists'")
    assert json.dumps(done.stderr).count("\\n") == 1


def test_a_taken_port_ends_the_command_with_one_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "warehouse.serving.api", "--port", str(port)],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"REPLENISH_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}")
