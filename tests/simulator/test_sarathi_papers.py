"""What SARATHI and Sarathi-Serve found holds in their own scenarios, on ideal operator times and fewer requests."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks import sarathi_ablation, sarathi_pipeline
from tests.benchmarks.sarathi_pipeline import ROOFLINE, Pipelines


@pytest.fixture(scope="module")
def pipelines() -> Pipelines:
    """Returns the three deployments of GPT-3 175B."""
    return sarathi_pipeline.compare(1000, ROOFLINE)


def test_lengths_have_the_ratio_and_prefer_short_ones() -> None:
    prompt, output = sarathi_pipeline.lengths(10_000)
    total = prompt + output
    assert total.min() >= 1024 and total.max() <= 4096
    np.testing.assert_allclose(prompt / output, 10, rtol=0.06)
    # The mean rank of Zipf with theta 0.4 over 3073 lengths is (1 - theta) / (2 - theta) of them.
    assert total.mean() == pytest.approx(1024 + 3073 * 0.6 / 1.6, rel=0.02)


def test_everything_is_served(pipelines: Pipelines) -> None:
    assert pipelines.sarathi.rejected == pipelines.orca.rejected == pipelines.replicas.rejected == 0


def test_equal_chunks_take_the_bubbles_out_of_the_pipeline(pipelines: Pipelines) -> None:
    assert pipelines.ratios["bubble"] > 2
    assert pipelines.sarathi.busy > 0.8 > pipelines.orca.busy
    assert pipelines.replicas.bubble_s == 0


def test_chunks_turn_the_choice_between_pipeline_and_replicas(pipelines: Pipelines) -> None:
    assert pipelines.ratios["replicas_over_pipeline"] > 1.1
    assert pipelines.ratios["over_replicas"] > 1.1
    assert pipelines.ratios["over_pipeline"] > 1.5


@pytest.mark.parametrize("name", sarathi_ablation.PAPER)
def test_hybrid_batches_and_chunks_each_give_a_part(name: str) -> None:
    found = {mode: sarathi_ablation.latencies(name, mode, 512, ROOFLINE, seeds=3) for mode in sarathi_ablation.MODES}
    tbt = {mode: each.tbt_p99_s.middle for mode, each in found.items()}
    ttft = {mode: each.ttft_p50_s.middle for mode, each in found.items()}
    assert tbt["combined"] < tbt["chunked_only"] < tbt["hybrid_only"]
    assert ttft["hybrid_only"] < ttft["combined"] < ttft["chunked_only"]


def test_the_cut_arxiv_set_has_the_median_that_the_paper_prints() -> None:
    # Table 2 of Sarathi-Serve: 7,059.
    assert sarathi_ablation.cut_lognormal(0.5) == pytest.approx(7059, rel=0.02)
