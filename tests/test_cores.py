"""The count of cores follows what the process may use, not what the machine has."""

import os
import subprocess
import sys

import pytest

from warehouse.cores import available_cores


def test_the_process_s_affinity_counts():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity to set")
    one = min(os.sched_getaffinity(0))
    # In a process of its own: this one's count is kept, and the tests need their cores.
    said = subprocess.run(
        [sys.executable, "-c", "from warehouse.cores import available_cores; print(available_cores())"],
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
        env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "1"


def test_omp_num_threads_lowers_the_count(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert available_cores() == 1


@pytest.mark.parametrize("limit", ["100000", "0", "many", ""])
def test_no_other_value_of_it_changes_the_count(monkeypatch, limit):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = available_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert available_cores() == cores >= 1
