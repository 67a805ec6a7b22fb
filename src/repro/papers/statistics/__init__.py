"""Intervals for numbers with few runs and finitely many examples: see docs/statistics.md.

`intervals`: means over seeds and verdicts. `bootstrap`: the test set, the seeds, and both. `aggregates`: several tasks.
"""

from typing import TYPE_CHECKING

from repro.papers.statistics.aggregates import Aggregated as Aggregated
from repro.papers.statistics.aggregates import aggregated as aggregated
from repro.papers.statistics.aggregates import improvement as improvement
from repro.papers.statistics.aggregates import interquartile_mean as interquartile_mean
from repro.papers.statistics.bootstrap import PairedDifference as PairedDifference
from repro.papers.statistics.bootstrap import hierarchical_difference as hierarchical_difference
from repro.papers.statistics.intervals import MeanDifference as MeanDifference
from repro.papers.statistics.intervals import Summary as Summary
from repro.papers.statistics.intervals import difference_of_means as difference_of_means
from repro.papers.statistics.intervals import equivalence as equivalence
from repro.papers.statistics.intervals import mean_draws as mean_draws
from repro.papers.statistics.intervals import summary as summary

if TYPE_CHECKING:
    from repro.papers.statistics.intervals import Floats as Floats
