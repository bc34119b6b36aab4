"""A study from its request to its frontier: screen, rescore what the interval does not rule out, publish the finalists.

Every trial is stored as it ends, in the place of its score at a smaller fidelity. A study that was stopped is resumed by
running it again: what is stored at a phase's fidelity is not run again, and since all choices follow from the seed, the
frontier is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from search.executor import Executor, Failed
from search.fidelity import FINAL, RESCORE, SCREEN, Fidelity
from search.frontier import Floats, not_ruled_out, pareto, ties
from search.ledger import Ledger, Ranked
from search.objectives import Objective, OperatingPoint
from search.progress import Phase, Progress
from search.request import SearchRequest
from search.samplers import Sampler, create
from search.space import Space
from search.trial import Scored, Task, evaluate
from simulator import catalog, label
from simulator.spec.deployment import Resolved

# Enough for a worker each and few enough for the sampler to learn; fixed, so that a seed gives the same study anywhere.
BATCH = 16
# Seeds of finalists lie far from those that chose them, so that a lucky draw is not counted twice.
FRESH_SEEDS = 10_000
MOST_FINALISTS = 24


class Stopped(Exception):
    """The study was asked to stop; what has finished is stored."""


class Study:
    """One run of a study on an executor."""

    def __init__(
        self,
        request: SearchRequest,
        ledger: Ledger,
        executor: Executor,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        self.request, self.ledger, self.executor, self.report, self.stop = request, ledger, executor, report, stop
        self.space: Space = request.build_space()
        self.objectives: tuple[Objective, ...] = request.objective_list
        self.started = time.monotonic()
        self._forget_best()
        self.sampler_sentence = ""
        self.left_out = 0

    def run(self) -> list[Ranked]:
        """Returns every operating point of the finalists, the frontier marked and ranked; raises Stopped."""
        screened = self.screen()
        self._forget_best()
        rescored = self.phase("rescore", RESCORE, self.still_open(screened, SCREEN), self.request.seed)
        finalists = self.finalists(rescored)
        self._forget_best()
        final = self.phase("final", FINAL, finalists, self.request.seed + FRESH_SEEDS)
        published = {s.task.key for s in final}
        others = [s for s in rescored if s.task.key not in published]
        return [*self.rank(final), *(_beaten(s, point) for s in others for point in s.points)]

    def screen(self) -> list[Scored]:
        """Returns every trial that the sampler asked for, scored on few requests."""
        problem = self.request.problem(self.space)
        sampler = create(self.request.sampler, problem)
        self.sampler_sentence = sampler.sentence
        scored: list[Scored] = []
        while len(scored) < self.request.budget.trials:
            asked = sampler.ask(min(self._batch(sampler), self.request.budget.trials - len(scored)))
            if not asked:
                if not scored:
                    raise self.space.nothing_legal()
                break
            total = self.request.budget.trials if sampler.learns else len(asked)
            self.report(self._progress("screen", len(scored), total, sampler.sentence))
            done = self.phase("screen", SCREEN, asked, self.request.seed, first=len(scored), total=total)
            sampler.tell([(result.task.deployment, self._told(result)) for result in done])
            scored += done
        return scored

    def _batch(self, sampler: Sampler) -> int:
        return BATCH if sampler.learns else self.request.budget.trials

    def phase(
        self,
        name: Phase,
        fidelity: Fidelity,
        deployments: Sequence[Resolved],
        seed: int,
        first: int = 0,
        total: int | None = None,
    ) -> list[Scored]:
        """Returns the deployments scored at a fidelity, in their order; raises Stopped when asked to stop.

        They are trials `first` and following of `total` in the phase, unless they are numbered already.
        """
        tasks = [
            Task(self.request, deployment, fidelity, self.ledger.number(deployment, first + place), seed)
            for place, deployment in enumerate(deployments)
        ]
        results: dict[int, Scored] = {}
        left: list[int] = []
        for place, task in enumerate(tasks):
            stored = self.ledger.recall(task)
            if stored is None:
                left.append(place)
            else:
                results[place] = stored
        begun = time.monotonic()
        for done, (index, outcome) in enumerate(
            self.executor.map_unordered(evaluate, [tasks[place] for place in left], stop=self.stop), start=1
        ):
            task = tasks[left[index]]
            scored = outcome if isinstance(outcome, Scored) else _failed(task, outcome)
            results[left[index]] = scored
            self.ledger.record(scored, self.values_of(scored), self._told(scored))
            self._note_best(scored)
            pace = (time.monotonic() - begun) / done
            finished, expected = first + len(results), total or first + len(tasks)
            self.report(self._progress(name, finished, expected, None, pace * (expected - finished)))
        if len(results) < len(tasks):
            raise Stopped
        return [results[place] for place in range(len(tasks))]

    def still_open(self, scored: Sequence[Scored], fidelity: Fidelity) -> list[Resolved]:
        """Returns the deployments that the intervals of a fidelity do not rule out of the frontier, in their order."""
        rows = [(place, *self._range(s, point, fidelity)) for place, s in enumerate(scored) for point in s.points]
        rows = [row for row in rows if not np.isnan(row[1]).any()]
        if not rows:
            return []
        low, high = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        is_open = not_ruled_out(low, high, [o.direction for o in self.objectives])
        places = sorted({row[0] for row, flag in zip(rows, is_open, strict=True) if flag})
        return [scored[place].task.deployment for place in places]

    def _range(self, scored: Scored, point: OperatingPoint, fidelity: Fidelity) -> tuple[Floats, Floats]:
        """Returns the lowest and the highest value that each objective of a point may have, as far as a fidelity tells."""
        values = self._values(point)
        lacking = self._lacking(scored) if self.request.demand else 0.0
        better = np.array([fidelity.latency_spread if o.unit == "s" else fidelity.spread for o in self.objectives])
        worse = np.array(
            [spread if o.unit == "s" else max(spread, lacking) for o, spread in zip(self.objectives, better, strict=True)]
        )
        minimized = np.array([o.direction == "minimize" for o in self.objectives])
        low = np.where(minimized, values * (1 - better), values / (1 + worse))
        return low, np.where(minimized, values * (1 + worse), values * (1 + better))

    @staticmethod
    def _lacking(scored: Scored) -> float:
        """Returns by which share a sized fleet may have to grow: by an instance, unless it would serve more load as well."""
        _, heaviest = scored.curve[-1]
        if heaviest.slo_met:
            return 0.0
        return 1 / (scored.bill.instances if scored.bill else scored.deployment.replicas)

    def finalists(self, rescored: Sequence[Scored]) -> list[Resolved]:
        """Returns the deployments to publish, up to a fixed number of those still open.

        Those on the frontier of the rescored points come first, from all along it, then those on the frontier of the rest.
        """
        kept = set(self.still_open(rescored, RESCORE))
        left = [s for s in rescored if s.task.deployment in kept]
        in_turn: list[Resolved] = []
        while left and len(in_turn) < MOST_FINALISTS:
            front = self._front(left)
            along = dict.fromkeys(front[place].task.deployment for place in ends_first(len(front)))
            in_turn += along
            left = [s for s in left if s.task.deployment not in along]
        self.left_out = max(len(kept) - MOST_FINALISTS, 0)
        return in_turn[:MOST_FINALISTS]

    def _front(self, scored: Sequence[Scored]) -> list[Scored]:
        """Returns the trial of each point of the frontier, by the first objective."""
        pairs = [(s, self._values(point)) for s in scored for point in s.points]
        values = np.array([row for _, row in pairs])
        members = np.flatnonzero(pareto(values, [o.direction for o in self.objectives]))
        return [pairs[i][0] for i in sorted(members, key=lambda i: (*values[i], pairs[i][0].task.number))]

    def rank(self, final: Sequence[Scored]) -> list[Ranked]:
        """Returns the finalists' operating points, the Pareto set marked, ranked by the first objective and tied by intervals."""
        pairs = [(s, point) for s in final for point in s.points]
        if not pairs:
            return []
        values = np.array([self._values(point) for _, point in pairs])
        directions = [o.direction for o in self.objectives]
        member = pareto(values, directions)
        half = values[:, 0] * np.array([_relative_half(s) for s, _ in pairs])
        tied = ties(values[:, 0], values[:, 0] - half, values[:, 0] + half, directions[0])
        # Points of one deployment are its loads and no rivals.
        rivals = len({pairs[i][1].trial for i in np.flatnonzero(tied)}) > 1
        sign = 1.0 if directions[0] == "minimize" else -1.0
        own = catalog.engine(self.request.engine).defaults.scheduler
        # Among equals the engine's own scheduler comes first, since that is what it runs.
        order = sorted(
            np.flatnonzero(member),
            key=lambda i: (sign * values[i, 0], tuple(values[i, 1:]), pairs[i][0].deployment.scheduler != own, pairs[i][1].trial),
        )
        ranks = {int(i): place for place, i in enumerate(order, start=1)}
        return [Ranked(s, point, bool(member[i]), ranks.get(i), bool(tied[i]) and rivals) for i, (s, point) in enumerate(pairs)]

    def _values(self, point: OperatingPoint) -> Floats:
        return np.array([_number(objective.value(point)) for objective in self.objectives])

    def values_of(self, scored: Scored) -> list[dict[str, float | None]]:
        """Returns the objectives of every point of a trial, by name."""
        return [{o.name: o.value(point) for o in self.objectives} for point in scored.points]

    def _told(self, scored: Scored) -> tuple[float, ...] | None:
        """Returns what the sampler learns of a trial: its best point on the first objective, None when infeasible."""
        rows = [tuple(map(float, self._values(point))) for point in scored.points]
        rows = [row for row in rows if not any(np.isnan(row))]
        sign = 1 if self.objectives[0].direction == "minimize" else -1
        return min(rows, key=lambda row: sign * row[0], default=None)

    def _forget_best(self) -> None:
        """Begins anew: what shorter runs overstated is no longer the best so far."""
        self.best: str | None = None
        self._best_value = float("nan")

    def _note_best(self, scored: Scored) -> None:
        told = self._told(scored)
        if told is None:
            return
        sign = 1 if self.objectives[0].direction == "minimize" else -1
        if self.best is None or sign * told[0] < sign * self._best_value:
            self._best_value = told[0]
            d = scored.deployment
            self.best = (
                f"{d.replicas}x {d.device} {label.parallelism(d.model_dump())} {d.scheduler} {d.max_num_batched_tokens} tok: "
                f"{told[0]:.4g} {self.objectives[0].unit}"
            )

    def _progress(self, phase: Phase, done: int, total: int, sentence: str | None, left_s: float | None = None) -> Progress:
        return Progress(phase, done, total, self.best, time.monotonic() - self.started, left_s, sentence)


def ends_first(count: int) -> list[int]:
    """Returns every index below `count`: both ends, then the middles of ever shorter gaps."""
    order, gaps = [0, count - 1][:count], [(0, count - 1)]
    for low, high in gaps:
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order


def _beaten(scored: Scored, point: OperatingPoint) -> Ranked:
    return Ranked(scored, point, on_frontier=False, rank=None, tied=False)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _relative_half(scored: Scored) -> float:
    """Returns half the width of the trial's interval over its capacity; 0 where a demand fixes the load."""
    capacity = scored.capacity
    return (capacity.high - capacity.low) / 2 / capacity.value if capacity and capacity.value > 0 else 0.0


def _failed(task: Task, outcome: Failed) -> Scored:
    return Scored(task, task.deployment, reason=outcome.error, broken=True)
