"""Agreement: whether the simulator orders deployments as real engines do, and what its pick costs where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Rank correlations over `deployments`, and by how much our pick is worse than the measured best, as a share of that.

    spearman and kendall (tau-b) are None with fewer than two deployments, and where all are alike on either side.
    """

    deployments: int
    spearman: float | None
    kendall: float | None
    regret: float | None


def agreement(measured: Sequence[float], simulated: Sequence[float], *, smaller: bool = True) -> Agreement:
    """Returns how the order by simulated[n] agrees with that by measured[n]; by default the smaller value is the better one."""
    from scipy import stats

    count = len(measured)
    if count == 0:
        return Agreement(0, None, None, None)
    pick = (min if smaller else max)(range(count), key=lambda place: simulated[place])
    best = min(measured) if smaller else max(measured)
    regret = abs(measured[pick] - best) / best if best else None
    if count < 2 or len(set(measured)) == 1 or len(set(simulated)) == 1:
        return Agreement(count, None, None, regret)
    spearman, kendall = stats.spearmanr(measured, simulated), stats.kendalltau(measured, simulated)
    return Agreement(count, float(spearman.statistic), float(kendall.statistic), regret)
