"""The arithmetic of a plan, by hand on small numbers."""

import subprocess
import sys

import pytest

from warehouse.llm.transform_plan import TransformPlan, main, plan

SMALL = {
    "seconds_a_request": 2.0,
    "concurrent_transforms": 4,
    "instance_count": 1,
    "jobs_at_once": 1,
    "usd_per_instance_hour": 3.0,
    "prompt_tokens": 100.0,
    "completion_tokens": 10.0,
    "shard_records": 900,
    "shards_a_job": 2,
    "start_minutes": 15.0,
}


def planned(customers: int, **changes: float) -> TransformPlan:
    return plan(customers, **(SMALL | changes))


def test_one_full_job():
    made = planned(1_800)
    # 1,800 requests at 4 / 2 s take 900 s; 15 minutes go before.
    assert (made.shards, made.jobs) == (2, 1)
    assert made.hours == pytest.approx(0.5)
    assert made.instance_hours == pytest.approx(0.5)
    assert made.usd == pytest.approx(1.5)
    assert made.usd_per_thousand_customers == pytest.approx(1.5 / 1.8)
    assert made.requests_per_second == pytest.approx(1.0)
    assert made.busy_requests_per_second == pytest.approx(2.0)
    assert (made.prompt_tokens, made.completion_tokens) == (180_000, 18_000)


def test_the_last_job_takes_what_it_holds():
    made = planned(1_800 + 360)
    # 360 requests take 180 s, after a start of their own.
    assert (made.shards, made.jobs) == (3, 2)
    assert made.hours == pytest.approx(0.5 + 0.25 + 0.05)
    assert made.instance_hours == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("customers", "hours"),
    [
        (3 * 1_800, 1.0),  # two at once, then one
        (4 * 1_800, 1.0),
        (2 * 1_800 + 360, 0.8),  # the short one goes after the first that ends
        (1_800 + 360, 0.5),  # the short one ends before the long one
    ],
)
def test_jobs_side_by_side(customers: int, hours: float):
    made = planned(customers, jobs_at_once=2)
    assert made.hours == pytest.approx(hours)
    assert made.instance_hours == planned(customers).instance_hours, "dollars do not depend on how many run at once"


def test_a_job_takes_as_long_as_its_busiest_instance():
    assert planned(1_800, instance_count=2).hours == pytest.approx(0.375)
    assert planned(1_800, instance_count=2).instance_hours == pytest.approx(0.75)
    # Two shards keep two instances busy; the others are paid and idle.
    assert planned(1_800, instance_count=4).hours == pytest.approx(0.375)
    assert planned(1_800, instance_count=4).instance_hours == pytest.approx(1.5)


def test_numbers_that_cannot_be():
    with pytest.raises(ValueError, match="must be positive"):
        planned(0)
    with pytest.raises(ValueError, match="must be positive"):
        planned(10, usd_per_instance_hour=-1)


def test_the_command_says_what_is_assumed(capsys: pytest.CaptureFixture[str]):
    main(["--customers", "10000000", "--seconds-a-request", "6"])
    said = capsys.readouterr().out
    assert "10,000 shards, 500 transform jobs" in said
    # 500 jobs of 20,000 requests at 8 / 6 s: 15,000 s and 480 s of start each, two at once.
    assert "1,075.0 hours (44.8 days), 2,150.0 instance hours" in said
    assert "3,225.00 USD, 0.3225 USD per thousand customers" in said
    assert "--usd-per-instance-hour 1.5: an example, not a price" in said
    assert "--seconds-a-request 6.0: an example, not measured" in said
    assert "about 90 jobs at once" in said


def test_a_wrong_number_is_a_usage_error():
    command = [sys.executable, "-m", "warehouse.llm.transform_plan", "--customers", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "must be positive" in ended.stderr
    assert "Traceback" not in ended.stderr
