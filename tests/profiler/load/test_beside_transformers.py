"""The load generator on a server that is not ours: its figures are the server's own."""

import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("openai")


@pytest.mark.slow
@pytest.mark.alone
def test_figures_are_those_of_the_servers_own_stamps() -> None:
    from tests.profiler.load.transformers_serve import REQUESTS, TOKENS, compare

    beside, measured = compare()
    assert measured.metrics().requests == REQUESTS and not measured.faults
    assert not measured.prompt_mismatches and not measured.output_mismatches and not measured.uncounted
    assert beside["output_tokens"].client == beside["output_tokens"].server == REQUESTS * TOKENS
    # The page has the figures of a quiet machine; here another process may stand between sending and serving.
    for name in ("ttft_s", "itl_s", "e2e_s"):
        assert abs(beside[name].error) < 0.1, name
