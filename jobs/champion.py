"""Which lists are published where a model was asked: the model's, or the policy's for the same customers.

A model must earn its place. With ``REPLENISH_CHAMPION=auto`` its lists are published only while those of the last
judged months found more of what was bought than the policy's did, by the margin agreed on. Not a program.
"""

from dataclasses import dataclass

import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from warehouse.contracts.gold import LIST_DECISIONS, SCORECARD
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings
from warehouse.table_log import Condition

MODEL, POLICY = "model", "policy"
METRIC = "recall@10_vs_policy"
"""The scorecard's metric of the model's lists that decides: mean over customers of the difference."""


@dataclass(frozen=True)
class Champion:
    """Whose lists are published, and why."""

    name: str
    why: str


def choose_champion(lake: Lake, settings: Settings, month: str) -> Champion:
    """Whose lists of the month are published, by scorecards up to the month and no later."""
    if settings.llm == "policy":
        return Champion(POLICY, "no model is asked")
    if settings.champion != "auto":
        return Champion(settings.champion, "REPLENISH_CHAMPION says so")
    months = month_range(add_months(month, 1 - settings.champion_months), month)
    where: list[Condition] = [("method", "=", MODEL), ("metric", "=", METRIC)]
    judged = lake.collect(SCORECARD, months, ["month", "value"], where).to_pylist()
    values = {row["month"]: row["value"] for row in judged if row["value"] is not None}
    return auto_champion(values, settings.champion_margin)


def auto_champion(differences: dict[str, float], margin: float) -> Champion:
    """The champion by the model's advantage over the policy in each judged month.

    Args:
        differences: month → mean difference of recall@10; none: nothing was judged yet.
        margin: least mean advantage that earns the model its place.
    """
    if not differences:
        return Champion(POLICY, "no month has judged the model's lists yet")
    mean = sum(differences.values()) / len(differences)
    told = f"{METRIC} {mean:+.4f} over {', '.join(sorted(differences))}; {margin:+.4f} earns the model its place"
    return Champion(MODEL if mean >= margin else POLICY, told)


def published_lists(decisions: DataFrame, champion: Champion) -> DataFrame:
    """``gold/list_decisions`` with the champion's lists in ``items``; ``policy_items`` is gone."""
    if champion.name == POLICY:
        decisions = decisions.withColumn("items", F.coalesce("policy_items", "items"))
    return decisions.drop("policy_items")


def decided_lists(lake: Lake, settings: Settings, month: str) -> dict[str, DataFrame]:
    """What was decided at the end of the month: method → ``gold/list_decisions`` with the method's lists in ``items``.

    ``published``, and where a model was asked ``model`` and ``policy``; nothing where nothing was decided.
    """
    if not lake.count_by_month(LIST_DECISIONS, [month]):
        return {}
    decisions = lake.read(LIST_DECISIONS, [month])
    lists = {"published": published_lists(decisions, choose_champion(lake, settings, month))}
    if pc.any(pc.not_equal(lake.collect(LIST_DECISIONS, [month], ["model"])["model"], POLICY)).as_py():
        lists[MODEL] = decisions
        lists[POLICY] = published_lists(decisions, Champion(POLICY, "for comparison"))
    return lists
