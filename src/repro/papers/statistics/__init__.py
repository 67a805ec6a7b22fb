"""What can be said of a number with few runs and finitely many examples: see docs/statistics.md.

`intervals`: means over seeds and verdicts. `bootstrap`: the test set, the seeds, and both. `aggregates`: several tasks.
"""

from repro.papers.statistics.aggregates import (
    Aggregated,
    aggregated,
    improvement,
    interquartile_mean,
    mean_of_tasks,
    probability_of_improvement,
)
from repro.papers.statistics.bootstrap import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    clustered,
    hierarchical_difference,
    hierarchical_interval,
    paired_bootstrap,
)
from repro.papers.statistics.intervals import (
    VERDICTS,
    MeanDifference,
    Summary,
    difference_of_means,
    equivalence,
    mean_draws,
    summary,
)

__all__ = [
    "VERDICTS",
    "Aggregated",
    "Interval",
    "MeanDifference",
    "PairedDifference",
    "Summary",
    "aggregated",
    "bootstrap_interval",
    "clustered",
    "difference_of_means",
    "equivalence",
    "hierarchical_difference",
    "hierarchical_interval",
    "improvement",
    "interquartile_mean",
    "mean_draws",
    "mean_of_tasks",
    "paired_bootstrap",
    "probability_of_improvement",
    "summary",
]
