"""Buckets of an S3 server of one's own: made where they are missing, and errors that say the mend."""

import boto3
import pytest

from tests.sagemaker_stack import CREDENTIALS, s3_server
from warehouse.buckets import main, make_buckets
from warehouse.errors import AccessRefused, SettingsError
from warehouse.settings import load_settings


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_missing_buckets_are_made_once(tmp_path):
    with s3_server() as url:
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="landing")
        uris = {"landing_uri": "s3://landing/x", "lake_uri": "s3://lake/tables", "vectors_uri": "s3://lake/vectors"}
        settings = load_settings(home=tmp_path, s3_endpoint=url, **uris)
        assert make_buckets(settings) == ["lake"]
        assert make_buckets(settings) == []


def test_buckets_of_aws_are_left_to_the_stack(tmp_path):
    with pytest.raises(SettingsError, match=r"deploy/aws/data.yaml"):
        make_buckets(load_settings(home=tmp_path, lake_uri="s3://lake/tables"))


def test_credentials_that_are_not_there_are_told_apart_from_a_server_that_is_not(tmp_path, monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    settings = load_settings(home=tmp_path, s3_endpoint="http://127.0.0.1:1", lake_uri="s3://lake/tables")
    with pytest.raises(AccessRefused, match=r"no AWS credentials were found"):
        make_buckets(settings)


def test_a_name_that_no_bucket_can_have_is_told_by_its_variable(tmp_path):
    with s3_server() as url:
        settings = load_settings(home=tmp_path, s3_endpoint=url, vectors_uri="s3://no bucket/vectors")
        with pytest.raises(SettingsError, match=r"REPLENISH_VECTORS_URI is 's3://no bucket/vectors': that is no name"):
            make_buckets(settings)


def test_a_server_that_does_not_answer_is_an_error_of_one_line(tmp_path, monkeypatch, capsys):
    given = {"HOME": str(tmp_path), "S3_ENDPOINT": "http://127.0.0.1:1", "LAKE_URI": "s3://lake/tables"}
    for name, value in given.items():
        monkeypatch.setenv(f"REPLENISH_{name}", value)
    assert main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: REPLENISH_S3_ENDPOINT is 'http://127.0.0.1:1': http://127.0.0.1:1 does not answer ")
    assert error.count("\n") == 1
