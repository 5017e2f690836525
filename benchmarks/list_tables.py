"""The tables of ``docs/decisions-quality.md`` that tell how good lists are: backtest results in, Markdown out."""

from collections.abc import Sequence

import numpy as np

from benchmarks.protocol import REFERENCE
from jobs.backtest import DISCOVERY, METHODS, POPULAR_NEW, PRICED
from jobs.scorecard import AGAINST

TIFUKNN = "tifuknn"
_NAMES = ("recall@10", "precision@10", "ndcg@10", "hit_rate@10", "recall@20", "precision@20")
_ORDER = [method for method in METHODS if method not in (DISCOVERY, POPULAR_NEW, PRICED)]
_ORDER.insert(_ORDER.index("decayed_frequency"), TIFUKNN)


def lists_table(results: Sequence[dict], prefix: str) -> str:
    """Each method's metrics, mean of the months, and its paired difference from personal top."""
    difference = f"{prefix}recall@10_vs_{AGAINST}"
    lines = [f"| method | {' | '.join(_NAMES)} | recall@10 − {AGAINST} |", "|---|" + "--:|" * (len(_NAMES) + 1)]
    for method in _ORDER:
        rows = _of(results, method)
        if not rows:
            continue
        values = " | ".join(f"{_mean(rows, prefix + name):.4f}" for name in _NAMES)
        paired = "–" if method == AGAINST else _told(rows, difference)
        lines.append(f"| {method} | {values} | {paired} |")
    return "\n".join(lines)


def reference_table(results: Sequence[dict]) -> str:
    """The reference's figures beside what the same methods get here."""
    names = ("recall@10", "precision@10", "need_recall@10", "need_precision@10")
    head = " | ".join(f"{name}, reference | here" for name in names)
    lines = [f"| method | {head} |", "|---|" + "--:|" * (2 * len(names))]
    for method, figures in REFERENCE.items():
        rows = _of(results, method)
        if rows:
            cells = [f"{figures[name]:.4f} | {_mean(rows, name):.4f}" for name in names]
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def discovery_table(results: Sequence[dict]) -> str:
    """Recall of what was bought for the first time, by lists of new products, and of new needs, alone."""
    lines = ["| month | lists | products, recall@10 | needs, recall@10 |", "|---|---|--:|--:|"]
    names = ("discovery_recall@10", "need_discovery_recall@10")
    for method in (DISCOVERY, POPULAR_NEW):
        rows = _of(results, method)
        for row in rows:
            cells = " | ".join(f"{row[name]:.4f} ± {row[f'{name}_se']:.4f}" for name in names)
            lines.append(f"| {row['month']} | {method} | {cells} |")
        if rows:
            lines.append(f"| mean | {method} | {' | '.join(f'{_mean(rows, name):.4f}' for name in names)} |")
    return "\n".join(lines)


def price_table(results: Sequence[dict]) -> str:
    """What a list of twenty loses by giving its last lines to discoveries."""
    lines = ["| list of twenty | recall@20 | precision@20 | discovery recall@20 |", "|---|--:|--:|--:|"]
    for method in ("ranker", PRICED):
        rows = _of(results, method)
        names = ("recall@20", "precision@20", "discovery_recall@20")
        lines.append(f"| {method} | {' | '.join(f'{_mean(rows, name):.4f}' for name in names)} |")
    return "\n".join(lines)


def _of(results: Sequence[dict], method: str) -> list[dict]:
    return [row for row in results if row["method"] == method]


def _mean(rows: Sequence[dict], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _told(rows: Sequence[dict], difference: str) -> str:
    return f"{_mean(rows, difference):+.4f} ± {max(row[f'{difference}_se'] for row in rows):.4f}"
