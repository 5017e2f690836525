"""The platform on a real S3 server (versitygw), over real connections: ``make test-s3``.

Each program is a process of its own, as in production: a process has one Spark session, and what a driver knows of S3
is fixed when it starts. Not here: refusals that this server does not give (``test_object_store.py``).
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests import s3_server
from tests.parity import MONTHS, REPOSITORY, SLICE, as_environment, compare_homes
from tests.s3_server import BUCKET, KEY, SECRET, S3Server
from warehouse.serving.store import open_store
from warehouse.settings import Settings, load_settings

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


def home(folder: Path) -> Path:
    """An empty home with the machine's cache, so that jars are fetched once."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cache").symlink_to(s3_server.CACHE)
    return folder


def environment(s3: S3Server, folder: Path, **settings: str) -> dict[str, str]:
    """Variables of a process whose stores are on the server below the folder's name."""
    own = {"home": str(folder), "spark_master": "local[2]", **s3.settings(folder.name), **settings}
    return {**os.environ, **SLICE, **s3.environment, **as_environment(own)}


def run(*command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, *command]
    return subprocess.run(program, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=1500, check=False)


# Of the tests alone: whichever comes first waits for the server to be built.
@pytest.mark.timeout(60, func_only=True)
class TestErrors:
    """What a person sees who starts a job: status 1 and one line, before Spark starts."""

    @pytest.fixture
    def told(self, s3, tmp_path):
        def start(**changed: str) -> str:
            home(tmp_path / "home")
            done = run("-m", "jobs.ingest", env={**environment(s3, tmp_path / "home"), **changed})
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1, done.stderr
            return done.stderr

        return start

    def test_wrong_credentials(self, told):
        assert "does not accept the AWS credentials in use (SignatureDoesNotMatch)" in told(AWS_SECRET_ACCESS_KEY="no")

    def test_unknown_credentials(self, told):
        assert "does not accept the AWS credentials in use" in told(AWS_ACCESS_KEY_ID="nobody")

    def test_a_missing_bucket(self, told):
        text = told(REPLENISH_LAKE_URI="s3://nowhere/lake")
        assert "REPLENISH_LAKE_URI is 's3://nowhere/lake'" in text
        assert "has no bucket 'nowhere'. Create it" in text

    def test_an_endpoint_where_nobody_is(self, told):
        assert "http://127.0.0.1:9 does not answer" in told(REPLENISH_S3_ENDPOINT="http://127.0.0.1:9")

    def test_the_doctor_says_the_same(self, s3, tmp_path):
        env = environment(s3, home(tmp_path / "home"), landing_uri="s3://nowhere/landing")
        done = run("-m", "warehouse.doctor", "--json", env=env)
        findings = [finding for finding in json.loads(done.stdout) if finding["check"] == "s3"]
        assert {finding["status"] for finding in findings} == {"ok", "fail"}
        assert [finding["mend"] for finding in findings if finding["status"] == "fail"] == [
            "Create it, or mend the variable"
        ]


CLIENTS = f"""
from pyspark.sql import functions as F
from warehouse.contracts.vectors import PRODUCT_EMBEDDINGS
from warehouse.files import open_filesystem
from warehouse.settings import load_settings
from warehouse.spark import start_session
from warehouse.vectors import open_vectors

settings = load_settings()
spark = start_session(settings)
spark.range(7).write.format("delta").mode("append").save(settings.lake + "/seven")
folder = open_filesystem(settings.landing, settings.s3_endpoint)
with folder.open_output_stream("one.txt") as stream:
    stream.write(b"one")
store = open_vectors(settings)
store.newest(PRODUCT_EMBEDDINGS)
uri, endpoint = settings.landing, settings.s3_endpoint

def in_a_task(batches):
    for batch in batches:
        with open_filesystem(uri, endpoint).open_input_stream("one.txt") as stream:
            assert stream.read() == b"one"
        yield batch

count = spark.read.format("delta").load(settings.lake + "/seven").mapInArrow(in_a_task, "id long").count()
assert (count, store.exists(PRODUCT_EMBEDDINGS)) == (7, True)
assert "{SECRET}" not in repr(spark.sparkContext.getConf().getAll())
print("all clients")
"""


class TestCredentials:
    """Spark, its tasks, PyArrow and LanceDB read and write with what AWS's chain finds, wherever it finds it."""

    @pytest.fixture
    def env(self, s3, tmp_path) -> dict[str, str]:
        found = environment(s3, home(tmp_path / tmp_path.name))
        # The machine's own must not help.
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            found.pop(name, None)
        nowhere = str(tmp_path / "none")
        return {**found, "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere}

    def test_of_a_profile(self, env, tmp_path):
        (tmp_path / "credentials").write_text(
            f"[team]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\nregion = us-east-1\n"
        )
        env |= {"AWS_PROFILE": "team", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
        done = run("-c", CLIENTS, env=env)
        assert done.stdout == "all clients\n", done.stderr[-2000:]
        assert SECRET not in done.stderr

    def test_of_a_containers_role(self, env):
        given = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": "", "Expiration": "2099-01-01T00:00:00Z"}

        class Agent(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(given).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Agent) as agent:
            threading.Thread(target=agent.serve_forever, daemon=True).start()
            env |= {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{agent.server_port}/role"}
            done = run("-c", CLIENTS, env=env)
            agent.shutdown()
        assert done.stdout == "all clients\n", done.stderr[-2000:]


APPENDS = 20

DRIVER = f"""
import sys, time
from pathlib import Path
from warehouse.settings import load_settings
from warehouse.spark import start_session

me, other = sys.argv[1:3]
settings = load_settings()
spark = start_session(settings)
table = settings.lake + "/raced"
rows = spark.range(1).selectExpr(f"'{{me}}' AS driver", "0 AS number")
if me == "a":  # or both would create it, which is a conflict of its own
    rows.where("false").write.format("delta").save(table)
here = Path(settings.home)
(here / me).touch()
while not (here / other).exists():
    time.sleep(0.05)
for number in range({APPENDS}):
    rows.selectExpr("driver", f"{{number}} AS number").write.format("delta").mode("append").save(table)
"""

REPLACER = """
import sys, time
from pathlib import Path
from warehouse.settings import load_settings
from warehouse.spark import start_session

me, other = sys.argv[1:3]
settings = load_settings()
spark = start_session(settings)
table = settings.lake + "/months"
if me == "a":
    spark.range(1).selectExpr("'2017-01' AS month", "'' AS driver").write.format("delta").save(table)
here = Path(settings.home)
(here / me).touch()
while not (here / other).exists():
    time.sleep(0.05)
outcomes = []
for number in range(4):
    rows = spark.range(200).selectExpr("'2017-01' AS month", f"'{me}' AS driver")
    try:
        rows.write.format("delta").mode("overwrite").option("replaceWhere", "month = '2017-01'").save(table)
        outcomes.append("written")
    except Exception as error:
        outcomes.append("conflict" if "ConcurrentModification" in repr(type(error).__mro__) + str(error)
                        or "DELTA_CONCURRENT" in str(error) else repr(error)[:500])
print(",".join(outcomes))
"""

COUNT = """
import sys
from warehouse.settings import load_settings
from warehouse.spark import start_session

settings = load_settings()
frame = start_session(settings).read.format("delta").load(settings.lake + "/" + sys.argv[1])
print(";".join(f"{row[0]},{row[1]}" for row in frame.groupBy("driver").count().orderBy("driver").collect()))
"""


LOG_STORE = """
from py4j.protocol import Py4JJavaError
from warehouse.log_store import CLASS
from warehouse.settings import load_settings
from warehouse.spark import start_session

settings = load_settings()
spark = start_session(settings)
jvm, conf = spark._jvm, spark._jsc.hadoopConfiguration()
assert spark.conf.get("spark.delta.logStore.s3.impl") == CLASS
loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
arguments = spark.sparkContext._gateway.new_array(jvm.java.lang.Object, 1)
arguments[0] = conf
store = loader.loadClass(CLASS).getConstructors()[0].newInstance(arguments)
path = jvm.org.apache.hadoop.fs.Path(settings.lake + "/one/_delta_log/00000000000000000000.json")

def commit(text, overwrite=False):
    lines = jvm.java.util.ArrayList()
    lines.add(text)
    store.write(path, lines.iterator(), overwrite, conf)

commit("mine")
commit("mine")  # as a client does that got no answer
try:
    commit("theirs")
except Py4JJavaError as error:
    assert error.java_exception.getClass().getName() == "java.nio.file.FileAlreadyExistsException"
    assert store.read(path, conf).next() == "mine"
    commit("theirs", overwrite=True)
    assert store.read(path, conf).next() == "theirs"
    print("once")
"""


def test_a_version_is_committed_once_and_a_repeated_request_is_no_conflict(s3, tmp_path):
    done = run("-c", LOG_STORE, env=environment(s3, home(tmp_path / "log")))
    assert done.stdout == "once\n", done.stderr[-3000:]


class TestTwoDrivers:
    """Two drivers on one table, without the pool that keeps them apart in Dagster."""

    def _race(self, program: str, env: Mapping[str, str]) -> list[str]:
        """Runs the program twice at once, each told who it is; what each printed."""
        env = {**env, "REPLENISH_SPARK_MASTER": "local[1]", "REPLENISH_SPARK_DRIVER_MEMORY": "1g"}
        with ExitStack() as processes:
            both = []
            for pair in (("a", "b"), ("b", "a")):
                command = [sys.executable, "-c", program, *pair]
                pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
                both.append(subprocess.Popen(command, cwd=REPOSITORY, env=env, **pipes))
                processes.callback(both[-1].kill)
            told = []
            for process in both:
                out, said = process.communicate(timeout=1200)
                assert process.returncode == 0, said[:3000]
                told.append(out)
            return told

    def test_no_append_is_lost(self, s3, tmp_path):
        env = environment(s3, home(tmp_path / "appends"))
        self._race(DRIVER, env)
        assert run("-c", COUNT, "raced", env=env).stdout == f"a,{APPENDS};b,{APPENDS}\n"

    def test_replacing_the_same_month_is_written_whole_or_a_conflict(self, s3, tmp_path):
        env = environment(s3, home(tmp_path / "replaces"))
        outcomes = [one for told in self._race(REPLACER, env) for one in told.strip().split(",")]
        assert set(outcomes) <= {"written", "conflict"}
        assert outcomes.count("written") >= 1
        left = run("-c", COUNT, "months", env=env).stdout.strip().split(";")
        assert [part.split(",")[1] for part in left] == ["200"], "the month of one driver, whole"


# In the first of the months none of twenty households did anything but buy, and interactions must have landed.
*SEED, SECOND = MONTHS[:3]
SLICE_OF_20 = ("-m", "tests.parity", "--households", "20")


class TestMonths:
    """The end-to-end slice with landing, lake and vectors on S3, through the definitions that the UI loads."""

    @pytest.fixture(scope="class")
    def seeded(self, s3, tmp_path_factory) -> Path:
        """A home whose first months are there, and nothing of the one after."""
        folder = home(tmp_path_factory.mktemp("months") / "undisturbed")
        done = run(*SLICE_OF_20, "--run", *SEED, env=environment(s3, folder))
        assert done.returncode == 0, done.stdout + done.stderr
        return folder

    @pytest.fixture(scope="class")
    def copied(self, s3, seeded) -> Path:
        """The same state a second time, below another prefix."""
        folder = home(seeded.with_name("disturbed"))
        for name in ("dagster", "serving"):
            shutil.copytree(seeded / name, folder / name)
        # The server keeps objects as files, and what it knows of them in their attributes.
        shutil.copytree(s3.folder / BUCKET / seeded.name, s3.folder / BUCKET / folder.name)
        return folder

    @pytest.fixture(scope="class")
    def undisturbed(self, s3, seeded, copied) -> Settings:
        done = run(*SLICE_OF_20, "--run", SECOND, env=environment(s3, seeded))
        assert done.returncode == 0, done.stdout + done.stderr
        return load_settings(home=seeded, **s3.settings(seeded.name))

    def test_lists_are_published_from_s3(self, s3, undisturbed):
        live = open_store(undisturbed.serving_store).live()
        assert (live.month, live.customers > 10) == (SECOND, True)
        kept = {path.relative_to(s3.folder / BUCKET).parts[1] for path in (s3.folder / BUCKET).glob("undisturbed/*")}
        assert kept == {"landing", "lake", "vectors"}
        shards = (s3.folder / BUCKET / "undisturbed/lake/llm" / SECOND).glob("*/*.jsonl")
        assert {path.parent.name for path in shards} == {"requests", "responses"}
        assert not (undisturbed.home / "lake").exists()

    def test_a_server_killed_in_the_middle_of_a_month(self, s3, undisturbed, copied, monkeypatch):
        env = environment(s3, copied)
        command = [sys.executable, *SLICE_OF_20, "--run", SECOND]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        requests = s3.folder / BUCKET / copied.name / "lake/llm" / SECOND / "requests"
        while not requests.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        s3.kill()
        try:
            _, said = process.communicate(timeout=600)
        finally:
            s3.start()
        assert process.returncode == 1
        failed = [line for line in said.splitlines() if line.startswith("  ✗")]
        told = f"REPLENISH_LAKE_URI is 's3://{BUCKET}/disturbed/lake': {s3.endpoint} does not answer"
        assert failed
        assert [line for line in failed if told not in line] == [], "assets that wait for none of the failed ones too"
        assert open_store(f"lmdb:{copied}/serving").live().month == SEED[-1], "nothing of the month was published"

        again = run(*SLICE_OF_20, "--run", SECOND, env=env)
        assert again.returncode == 0, again.stdout + again.stderr
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        mended = load_settings(home=copied, **s3.settings(copied.name))
        results = list(compare_homes(undisturbed, mended))
        assert [result.line() for result in results if result.difference] == []
        assert sum(result.rows for result in results) > 5_000
