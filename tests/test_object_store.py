"""S3 without a server: one URI, each client's settings; what is wrong is said in one line."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jobs.cli import exit_on_error, job_process
from warehouse import object_store, object_store_errors
from warehouse.errors import AccessRefused, SettingsError, StoreUnavailable
from warehouse.llm import sagemaker_client
from warehouse.object_store_errors import ask, explained, require_kept_commits, require_store
from warehouse.serving.dynamodb_table import Table
from warehouse.settings import Settings, load_settings
from warehouse.spark import session_config

ENDPOINT = "http://127.0.0.1:9"
LAKE = "REPLENISH_LAKE_URI"


@pytest.fixture(autouse=True)
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keys in the environment and nothing else of this machine's; every test asks anew."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(object_store_errors, "_answered", set())
    return monkeypatch


@pytest.fixture
def on_s3(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, lake_uri="s3://bucket/lake", s3_endpoint=ENDPOINT)


@contextmanager
def answering(status: int, body: str = "") -> Iterator[str]:
    """An S3 server that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def refused(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>"


def test_every_client_gets_the_same_server_and_no_secret(on_s3):
    s3a = object_store.s3a_options(on_s3)
    assert s3a["spark.hadoop.fs.s3a.endpoint"] == ENDPOINT
    assert s3a["spark.hadoop.fs.s3a.path.style.access"] == "true"
    assert s3a["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert object_store.arrow_options(ENDPOINT)["endpoint_override"] == "127.0.0.1:9"
    assert object_store.arrow_options(ENDPOINT)["scheme"] == "http"
    assert object_store.object_store_options(ENDPOINT)["aws_endpoint"] == ENDPOINT
    assert object_store.object_store_options(ENDPOINT)["allow_http"] == "true"
    assert object_store.open_client(ENDPOINT).meta.endpoint_url == ENDPOINT
    everything = [s3a, object_store.arrow_options(ENDPOINT), object_store.object_store_options(ENDPOINT)]
    assert "secret-of-the-test" not in repr(everything)
    assert "us-east-1" == object_store.region(ENDPOINT) == s3a["spark.hadoop.fs.s3a.endpoint.region"]


def test_at_aws_addresses_and_tls_are_the_clients_own(credentials, tmp_path):
    credentials.setenv("AWS_REGION", "eu-west-1")
    s3a = object_store.s3a_options(load_settings(home=tmp_path, lake_uri="s3://bucket/lake"))
    assert s3a["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    assert not [name for name in s3a if name.endswith(("endpoint", "ssl.enabled", "path.style.access"))]
    assert object_store.object_store_options(None)["aws_region"] == "eu-west-1"
    assert "allow_http" not in object_store.object_store_options(None)
    assert object_store.arrow_options(None)["region"] == "eu-west-1"
    assert "endpoint_override" not in object_store.arrow_options(None)


def test_aws_s_other_services_are_asked_in_the_same_region(credentials):
    credentials.setenv("AWS_REGION", "eu-west-1")
    assert Table("lists").client.meta.region_name == "eu-west-1"
    assert sagemaker_client._open_client("sagemaker").meta.region_name == "eu-west-1"


def test_executors_are_told_the_region_of_the_driver(credentials, tmp_path):
    credentials.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    on_s3 = load_settings(home=tmp_path, spark_master="submit", lake_uri="s3://bucket/lake")
    assert session_config(on_s3)["spark.executorEnv.AWS_REGION"] == "eu-west-1"
    credentials.delenv("AWS_DEFAULT_REGION")
    assert "spark.executorEnv.AWS_REGION" not in session_config(on_s3)


def test_what_only_boto3_finds_is_handed_over(credentials, tmp_path):
    assert object_store.handed_over() is None, "every client reads the environment by itself"
    assert object_store.jvm_credentials() == {}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        credentials.delenv(name)
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = k\naws_secret_access_key = s\naws_session_token = t\n"
    )
    assert object_store.arrow_options(ENDPOINT)["session_token"] == "t"
    assert object_store.object_store_options(ENDPOINT)["aws_session_token"] == "t"
    assert object_store.jvm_credentials() == {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
    }


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("code", "status", "error", "text"),
    [
        ("ExpiredToken", 400, AccessRefused, r"session .* has expired \(ExpiredToken\)\. .*aws sso login"),
        ("InvalidAccessKeyId", 403, AccessRefused, r"does not accept .* Mend AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", 403, AccessRefused, r"does not accept .* Mend AWS_ACCESS_KEY_ID"),
        ("AccessDenied", 403, AccessRefused, r"may not use it .* s3:ListBucket"),
        ("NoSuchBucket", 404, SettingsError, r"has no bucket 'bucket'\. Create it"),
        ("PermanentRedirect", 301, SettingsError, r"in another region\. Set AWS_REGION"),
        ("RequestTimeTooSkewed", 403, AccessRefused, "clock"),
        ("InternalError", 500, StoreUnavailable, "cannot answer now"),
        ("SomethingNew", 400, SettingsError, r"refuses to answer \(SomethingNew\): so it is"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_mend(code, status, error, text):
    with answering(status, refused(code)) as endpoint, pytest.raises(error, match=text) as raised:
        ask(LAKE, "s3://bucket/lake", endpoint)
    assert str(raised.value).startswith("REPLENISH_LAKE_URI is 's3://bucket/lake': ")
    assert "\n" not in str(raised.value)


@pytest.mark.timeout(30)
def test_a_server_that_is_not_there(on_s3):
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9 does not answer .* REPLENISH_S3_ENDPOINT"):
        require_store(on_s3, LAKE)


@pytest.mark.process
@pytest.mark.timeout(30)
def test_a_server_that_takes_connections_and_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=r"does not answer .ReadTimeoutError"):
            ask(LAKE, "s3://bucket/lake", endpoint)


@pytest.mark.timeout(30)
def test_no_credentials_and_half_ones_and_an_unknown_profile(on_s3, credentials):
    credentials.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessRefused, match=r"AWS cannot be asked: .*Mend the AWS profile"):
        require_store(on_s3, LAKE)
    credentials.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccessRefused, match="no AWS credentials were found"):
        require_store(on_s3, LAKE)
    credentials.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessRefused, match=r"nobody.*Mend the AWS profile"):
        require_store(on_s3, LAKE)


def test_local_folders_are_not_asked_and_a_store_is_asked_once(tmp_path):
    require_store(load_settings(home=tmp_path), LAKE)
    with answering(200, "<ListBucketResult/>") as endpoint:
        settings = load_settings(home=tmp_path, lake_uri="s3://bucket/lake", s3_endpoint=endpoint)
        require_store(settings, LAKE)
    require_store(settings, LAKE)


def test_a_failure_half_way_is_explained_by_the_store_that_is_gone(tmp_path):
    with pytest.raises(KeyError), explained():
        raise KeyError("nothing was asked, so no store is to blame")
    with answering(200, "<ListBucketResult/>") as endpoint:
        settings = load_settings(home=tmp_path, lake_uri="s3://bucket/lake", s3_endpoint=endpoint)
        require_store(settings, LAKE)
        with pytest.raises(KeyError), explained():
            raise KeyError("the store is well")
    with pytest.raises(StoreUnavailable, match="REPLENISH_LAKE_URI is 's3://bucket/lake'"), explained():
        raise KeyError("two hundred lines of Java")


def test_a_job_that_fails_asks_each_store_once(credentials, capsys):
    asked = []

    def ask(*store: object) -> None:
        asked.append(store)
        raise StoreUnavailable("the store is gone")

    credentials.setattr(object_store_errors, "ask", ask)
    object_store_errors._answered.add((LAKE, "s3://bucket/lake", ENDPOINT))
    for process in (job_process, exit_on_error):
        with pytest.raises(SystemExit), process():
            raise KeyError("two hundred lines of Java")
        assert asked.pop() == (LAKE, "s3://bucket/lake", ENDPOINT)
        assert asked == []
        assert capsys.readouterr().err == "error: the store is gone\n"


@pytest.mark.timeout(30)
def test_a_server_that_overlooks_conditional_writes_is_refused(tmp_path):
    with answering(200) as endpoint:
        settings = load_settings(home=tmp_path, lake_uri="s3://bucket/lake", s3_endpoint=endpoint)
        with pytest.raises(SettingsError, match="does not support conditional writes"):
            require_kept_commits(settings)
    with answering(412, refused("PreconditionFailed")) as endpoint:
        require_kept_commits(load_settings(home=tmp_path, lake_uri="s3://bucket/lake", s3_endpoint=endpoint))
    require_kept_commits(load_settings(home=tmp_path, lake_uri="s3://bucket/lake"))  # AWS is not asked
