"""Our own engine behind its adapter, and a server that runs already behind `openai`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from profiler.load import engines
from profiler.load.engines import Launch, faults
from simulator.errors import InputError
from tests.profiler.load.faking import Fake, launch

pytest.importorskip("torch")
pytest.importorskip("fastapi")

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "float32",
}


def command(config: Path, *knobs: str) -> engines.Command:
    """Returns the command of an engine with random weights."""
    config.write_text(json.dumps(CONFIG), encoding="utf-8")
    return lambda port: [
        *("trimtab", "engine", "serve", "--random", str(config), "--served-model-name", "m", "--port", str(port)),
        *(part for knob in knobs for part in ("--set", knob)),
    ]


def test_our_engine_is_served_and_an_endpoint_that_runs_is_left_running(tmp_path: Path) -> None:
    own = launch(tmp_path, command(tmp_path / "config.json", "device=cpu", "max_num_seqs=4"), ready_s=120, grace_s=10)
    with engines.engine("torch").serve(own) as served:
        assert served.log is not None and "serves m on cpu" in served.log.read_text(encoding="utf-8")
        for url in (served.url, f"{served.url}/v1/"):
            with engines.engine("openai").serve(Launch("m", tmp_path, url=url)) as found:
                assert found.url == served.url and found.model == "m" and found.log is None and found.ready_after_s > 0
        assert served.fault() is None
        with (
            pytest.raises(faults.Refused, match="'other' is not served"),
            engines.engine("openai").serve(Launch("other", tmp_path, url=served.url)),
        ):
            pass


def test_a_knob_that_our_engine_refuses_is_in_the_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(faults.Died, match="max_num_seqs: 0 is not allowed"),
        engines.engine("torch").serve(launch(tmp_path, command(tmp_path / "config.json", "max_num_seqs=0"), ready_s=120)),
    ):
        pass


def test_an_endpoint_that_is_not_there_is_given_up_soon(tmp_path: Path) -> None:
    with (
        pytest.raises(faults.NeverReady, match="refused"),
        engines.engine("openai").serve(Launch("m", tmp_path, url="http://127.0.0.1:9", ready_s=0.5)),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("openai", Launch("m", Path())),
        ("openai", Launch("m", Path(), url="127.0.0.1:8000")),
        ("vllm", Launch("m", Path())),
        ("torch", Launch("m", Path(), url="http://127.0.0.1:8000")),
        ("sglang", Launch("m", Path("/proc/no"), command=Fake("ok"))),
    ],
)
def test_a_launch_without_what_the_engine_needs_is_refused(name: str, asked: Launch) -> None:
    with pytest.raises(InputError), engines.engine(name).serve(asked):
        pass


def test_engines_are_files() -> None:
    assert engines.names() == ("openai", "sglang", "torch", "vllm")
    with pytest.raises(InputError, match="vllm"):
        engines.engine("vlm")
    with pytest.raises(InputError):
        engines.engine("faults")
