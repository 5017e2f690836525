"""Buckets of an S3 server of one's own: made where they are missing, and errors that say the mend."""

import boto3
import pytest

from tests.sagemaker_stack import CREDENTIALS, s3_server
from warehouse.buckets import main, make_buckets
from warehouse.errors import SettingsError
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


def test_a_server_that_does_not_answer_is_an_error_of_one_line(tmp_path, monkeypatch, capsys):
    given = {"HOME": str(tmp_path), "S3_ENDPOINT": "http://127.0.0.1:1", "LAKE_URI": "s3://lake/tables"}
    for name, value in given.items():
        monkeypatch.setenv(f"REPLENISH_{name}", value)
    assert main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the S3 server at http://127.0.0.1:1 cannot be used: ")
    assert error.count("\n") == 1
