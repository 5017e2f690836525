"""The CloudFormation stacks: valid by AWS's schemas, least privilege, and in agreement with settings and code.

What only AWS can prove, that the permissions suffice, is said in docs/deploy-aws.md.
"""

import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from assets import emr
from warehouse.settings import SECRETS, Settings, load_settings

STACKS = Path(__file__).parents[1] / "deploy" / "aws"
PARAMETERS = {
    "Name": "replenish",
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-central-1",
    "AWS::Partition": "aws",
    "Spark": "00application",
    "BusinessTz": "Europe/Berlin",
    "FirstMonth": "2026-01",
    "Llm": "policy",
    "SparkConf": "spark.emr-serverless.driver.disk=120g",
    "Database.Endpoint.Address": "db.example",
}
# Actions that AWS grants on nothing narrower, and how they are bounded.
ON_EVERYTHING = {
    ("EcsExecutionRole", "ecr:GetAuthorizationToken"): "a token for the account's registry; pulling is bounded apart",
    ("SageMakerRole", "ecr:GetAuthorizationToken"): "a token for the account's registry; pulling is bounded apart",
    ("SageMakerRole", "cloudwatch:PutMetricData"): "bounded by the condition on its namespace",
}
WRITES = re.compile(r"dynamodb:(Put|Update|Delete|BatchWrite|Transact|Restore|Import|PartiQL)")


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms: ``!Sub x`` as ``{"Sub": x}``."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


def _resources(stack: str) -> dict[str, dict[str, Any]]:
    return yaml.load((STACKS / f"{stack}.yaml").read_text(), _Loader)["Resources"]


def _text(value: Any) -> str:
    """What ``!Sub`` and ``!Ref`` come to with the parameters above."""
    if isinstance(value, str):
        return value
    kind, inner = next(iter(value.items()))
    if kind == "Sub":
        return re.sub(r"\$\{([\w:.]+)\}", lambda found: PARAMETERS.get(found[1], found[1]), inner)
    return PARAMETERS.get(inner, inner) if isinstance(inner, str) else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


DATA, ROLES, SERVICES = _resources("data"), _resources("roles"), _resources("services")


def _statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Role or managed policy, with each of its statements."""
    for name, resource in ROLES.items():
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            yield from ((name, statement) for statement in document["Statement"])


STATEMENTS = list(_statements())


def _of_role(role: str) -> list[dict[str, Any]]:
    """A role's own statements and those of the managed policies attached to it."""
    attached = {policy["Ref"] for policy in ROLES[role]["Properties"].get("ManagedPolicyArns", [])}
    return [statement for name, statement in STATEMENTS if name == role or name in attached]


def test_cfn_lint_finds_nothing():
    cfn_lint = Path(sys.executable).parent / "cfn-lint"
    run = subprocess.run([cfn_lint, *sorted(STACKS.glob("*.yaml"))], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


class TestLeastPrivilege:
    def test_every_action_is_named(self):
        actions = {action for _, statement in STATEMENTS for action in _list(statement["Action"])}
        assert len(actions) > 30
        assert [action for action in actions if "*" in action] == []

    def test_nothing_is_granted_on_everything_but_what_cannot_be_bounded(self):
        granted = {
            (role, action)
            for role, statement in STATEMENTS
            if "*" in _list(statement["Resource"])
            for action in _list(statement["Action"])
        }
        assert granted == set(ON_EVERYTHING)

    def test_no_resource_is_a_whole_service(self):
        resources = [_text(one) for _, statement in STATEMENTS for one in _list(statement["Resource"])]
        bare = [one for one in resources if re.fullmatch(r"arn:aws:(s3|dynamodb|secretsmanager|kms|iam):.*:?\*", one)]
        assert [one for one in bare if "replenish" not in one] == []

    def test_the_api_reads_its_table_and_nothing_else(self):
        (statement,) = _of_role("ApiRole")
        assert set(statement["Action"]) == {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"}
        assert _text(statement["Resource"]).endswith(":table/replenish-lists")

    def test_only_publishing_changes_what_customers_are_shown(self):
        writers = {
            role
            for role, statement in STATEMENTS
            if any(_text(one).endswith("/replenish-lists") for one in _list(statement["Resource"]))
            and any(WRITES.match(action) for action in _list(statement["Action"]))
        }
        assert writers == {"PublishRole"}

    def test_nobody_changes_what_has_landed(self):
        actions = {
            (role, action)
            for role, statement in STATEMENTS
            if any(":replenish-landing-" in _text(one) for one in _list(statement["Resource"]))
            for action in _list(statement["Action"])
        }
        assert {action for _, action in actions} == {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"}
        assert {role for role, action in actions if action == "s3:GetObject"} == {"IngestRole"}

    @pytest.mark.parametrize(
        ("role", "folders"),
        [
            ("IngestRole", {"bronze/*"}),
            ("TransformRole", {"bronze/quarantine/*", "silver/*", "gold/*", "llm/*"}),
            ("PublishRole", {"serving/*"}),
            ("OrchestrationRole", set()),
        ],
    )
    def test_a_step_writes_its_own_tables(self, role, folders):
        written = {
            _text(one).partition("/tables/")[2]
            for statement in _of_role(role)
            if "s3:PutObject" in _list(statement["Action"])
            for one in _list(statement["Resource"])
            if "/tables/" in _text(one)
        }
        assert written == folders

    def test_roles_are_handed_to_jobs_only(self):
        (passing,) = [statement for _, statement in STATEMENTS if "iam:PassRole" in _list(statement["Action"])]
        assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "emr-serverless.amazonaws.com"}}
        assert {one["GetAtt"] for one in passing["Resource"]} == {f"{step}Role.Arn" for step in _STEP_ROLES}

    def test_a_service_takes_a_role_for_this_account_only(self):
        for name, resource in ROLES.items():
            if resource["Type"] == "AWS::IAM::Role":
                for statement in resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                    assert "aws:SourceAccount" in statement["Condition"]["StringEquals"], name


def _may_read(role: str, secret: str) -> bool:
    """Whether a role may read a secret of this name; AWS adds a hyphen and six characters to it in the ARN."""
    granted = [
        _text(one)
        for statement in _of_role(role)
        if "secretsmanager:GetSecretValue" in _list(statement["Action"])
        for one in _list(statement["Resource"])
    ]
    return any(
        fnmatch.fnmatchcase(f"x:secret:{secret}-aB3dE6", f"x:secret:{one.partition(':secret:')[2]}") for one in granted
    )


_STEP_ROLES = ("Ingest", "Transform", "Publish")


class TestData:
    @pytest.mark.parametrize("bucket", ["LandingBucket", "LakeBucket", "StagingBucket"])
    def test_buckets_are_encrypted_private_and_cleaned_up(self, bucket):
        properties = DATA[bucket]["Properties"]
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        rules = properties["LifecycleConfiguration"]["Rules"]
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
        policies = [one["Properties"] for one in DATA.values() if one["Type"] == "AWS::S3::BucketPolicy"]
        (policy,) = [one["PolicyDocument"]["Statement"][0] for one in policies if one["Bucket"] == {"Ref": bucket}]
        assert policy["Effect"] == "Deny"
        assert policy["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_prompts_do_not_stay(self):
        rules = {
            rule.get("Prefix"): rule for rule in DATA["StagingBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        }
        assert rules["llm/"]["ExpirationInDays"] == 30
        assert "VersioningConfiguration" not in DATA["StagingBucket"]["Properties"]

    def test_what_holds_data_outlives_its_stack(self):
        kept = ("AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret", "AWS::ECR::Repository")
        for name, resource in DATA.items():
            if resource["Type"] in kept:
                assert resource["DeletionPolicy"] == "Retain", name

    def test_the_serving_table_is_billed_by_use_and_can_be_brought_back(self):
        properties = DATA["ServingTable"]["Properties"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert properties["DeletionProtectionEnabled"] is True
        assert properties["TimeToLiveSpecification"]["Enabled"] is True

    def test_the_serving_table_is_the_one_that_the_store_makes(self):
        store = pytest.importorskip("warehouse.serving.dynamodb_table", reason="comes with the DynamoDB store")
        properties = DATA["ServingTable"]["Properties"]
        keys = [(key["AttributeName"], key["KeyType"]) for key in properties["KeySchema"]]
        assert keys == [(store.PK, "HASH"), (store.SK, "RANGE")]
        assert properties["TimeToLiveSpecification"]["AttributeName"] == store.EXPIRES


class TestServices:
    def test_what_tasks_are_given_are_settings_and_no_secret_is_among_them(self):
        known = {f"REPLENISH_{name.upper()}" for name in Settings.model_fields}
        secret = {f"REPLENISH_{name.upper()}" for name in SECRETS}
        for container in _containers().values():
            given = {one["Name"] for one in container["Environment"]}
            referred = {one["Name"] for one in container["Secrets"]}
            assert {name for name in given if name.startswith("REPLENISH_")} - known == set()
            assert given & secret == set()
            assert referred <= secret

    def test_web_server_and_daemon_are_given_the_database_and_no_more(self):
        containers = _containers()
        assert _environment("webserver") == _environment("daemon")
        assert containers["webserver"]["Secrets"] == containers["daemon"]["Secrets"]
        assert {one["Name"] for one in containers["daemon"]["Secrets"]} == {"REPLENISH_DAGSTER_POSTGRES_PASSWORD"}
        assert _environment("daemon").items() - _environment("code").items() == {("CODE_SERVER", "127.0.0.1")}

    def test_web_server_and_daemon_reach_the_one_code_server(self):
        task = SERVICES["DagsterTask"]["Properties"]["ContainerDefinitions"]
        assert [container["Name"] for container in task] == ["code", "webserver", "daemon"]
        workspace = yaml.safe_load((STACKS.parents[1] / "workspace.containers.yaml").read_text())
        port = str(workspace["load_from"][0]["grpc_server"]["port"])
        code, *others = (container["Command"] for container in task)
        assert code[code.index("-p") + 1] == port
        assert all("workspace.containers.yaml" in command for command in others)

    @pytest.mark.parametrize(
        ("program", "step"), [("ingest", "Ingest"), ("candidates", "Transform"), ("publish", "Publish")]
    )
    def test_a_job_is_asked_for_with_names_that_the_other_stacks_know(self, tmp_path, monkeypatch, program, step):
        for name, value in _environment("code").items():
            monkeypatch.setenv(name, value)
        settings = load_settings(home=tmp_path)
        request = emr.job_request(settings, [program, "--month", "2026-05"])
        assert request["applicationId"] == PARAMETERS["Spark"]
        role = _text(ROLES[f"{step}Role"]["Properties"]["RoleName"])
        assert request["executionRoleArn"] == f"arn:aws:iam::123456789012:role/{role}"
        properties = request["configurationOverrides"]["applicationConfiguration"][0]["properties"]
        assert properties["spark.emr-serverless.driver.disk"] == "120g"
        secrets = {text.removeprefix("EMR.secret@") for text in properties.values() if text.startswith("EMR.secret@")}
        salt = _text(DATA["PseudonymSalt"]["Properties"]["Name"])
        assert secrets == ({salt} if step == "Transform" else set())
        assert all(_may_read(f"{step}Role", secret) for secret in secrets)
        assert settings.serving_store == f"dynamodb:{_text(DATA['ServingTable']['Properties']['TableName'])}"
        buckets = {_text(one["Properties"]["BucketName"]) for one in DATA.values() if one["Type"] == "AWS::S3::Bucket"}
        uris = (settings.landing, settings.lake, settings.vectors, settings.llm_staging_uri, settings.emr_staging_uri)
        assert {uri.removeprefix("s3://").partition("/")[0] for uri in (*uris, settings.dagster_logs_uri)} == buckets

    def test_the_application_carries_the_tag_that_starting_jobs_depends_on(self):
        (starting,) = [one for _, one in STATEMENTS if "emr-serverless:StartJobRun" in _list(one["Action"])]
        ((name, value),) = starting["Condition"]["StringEquals"].items()
        tags = {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in SERVICES["Spark"]["Properties"]["Tags"]}
        assert tags == {name: value}

    def test_images_are_those_of_the_repositories_by_version(self):
        repositories = {_text(one["Properties"]["RepositoryName"]) for one in DATA.values() if "ECR" in one["Type"]}
        images = [_text(container["Image"]) for container in _containers().values()]
        images.append(_text(SERVICES["Spark"]["Properties"]["ImageConfiguration"]["ImageUri"]))
        for image in images:
            repository, _, tag = image.partition("amazonaws.com/")[2].partition(":")
            assert repository in repositories
            assert tag == "Version"

    def test_logs_do_not_grow_for_ever_and_the_database_is_closed(self):
        groups = [one["Properties"] for one in SERVICES.values() if one["Type"] == "AWS::Logs::LogGroup"]
        assert len(groups) == 3
        assert all(group["RetentionInDays"] <= 90 for group in groups)
        database = SERVICES["Database"]["Properties"]
        assert database["StorageEncrypted"] is True
        assert database["PubliclyAccessible"] is False
        assert _text(database["MasterUserPassword"]).startswith("{{resolve:secretsmanager:")
        doors = SERVICES["DatabaseGroup"]["Properties"]["SecurityGroupIngress"]
        assert [door.get("SourceSecurityGroupId") for door in doors] == [{"Ref": "ServiceGroup"}]


def _containers() -> dict[str, dict[str, Any]]:
    tasks = [one["Properties"] for one in SERVICES.values() if one["Type"] == "AWS::ECS::TaskDefinition"]
    return {container["Name"]: container for task in tasks for container in task["ContainerDefinitions"]}


def _environment(container: str) -> dict[str, str]:
    return {one["Name"]: _text(one["Value"]) for one in _containers()[container]["Environment"]}
