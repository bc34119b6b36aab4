"""What is written is what engines and platforms take: their own options, their schemas; what they would not take is named."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest
import yaml

from deploy.check import table as tables
from deploy.check.command import check, table
from deploy.launch import launcher
from deploy.launch import names as engines
from deploy.platforms import Pool, platform
from deploy.platforms import names as platforms
from search import checking
from simulator.errors import InputError
from tests.deploy.test_platforms import APART, MODEL, ROUTERS, VARIED, placed, resolved, supported, told, written

EXPERTS = [
    {"model": "mistralai/Mixtral-8x7B-v0.1", "device": "H100-SXM", "tensor_parallel_size": 4, "enable_expert_parallel": True},
    {"device": "H100-SXM", "tensor_parallel_size": 2, "num_gpu_blocks_override": 5000, "max_model_len": 4096},
]


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("knobs", [*VARIED, *EXPERTS], ids=lambda knobs: "-".join(str(value) for value in knobs.values()))
def test_every_command_has_only_options_that_its_engine_has(engine: str, knobs: dict[str, Any]) -> None:
    if engine == "torch" and "model" in knobs:
        knobs = {**knobs, "enable_expert_parallel": False}
    held = checking.command(engine, told(resolved(engine, **supported(engine, knobs)), engine))
    assert int(held.split()[0]) >= 9


@pytest.mark.parametrize(("name", "engine"), [(name, engine) for name in platforms() for engine in platform(name).ENGINES])
@pytest.mark.parametrize("knobs", VARIED, ids=lambda knobs: "-".join(str(value) for value in knobs.values()))
def test_every_document_is_as_its_platform_takes_it(name: str, engine: str, knobs: dict[str, Any]) -> None:
    deployment = resolved(engine, **supported(engine, {"router": ROUTERS.get(name, "random"), **knobs}))
    found = written(name, deployment, placed(deployment, engine))
    held = list(checking.placed(name, engine, told(deployment, engine), found))
    assert len(held) >= 2 and not [line for line in held if line.startswith("not ")]


@pytest.mark.parametrize("name", APART)
def test_pools_apart_are_checked_both(name: str) -> None:
    deployment = resolved(device="H100-SXM")
    found = written(name, deployment, placed(deployment, prefill=Pool(deployment, told(deployment))))
    assert any(line.startswith("4") for line in checking.placed(name, "vllm", told(deployment), found))
    text = yaml.safe_dump_all(found).replace("--max-num-seqs", "--max-seqs")
    with pytest.raises(InputError, match=r"--max-seqs: '1024' is not allowed; allowed: an option of .*--max-num-seqs"):
        list(checking.placed(name, "vllm", told(deployment), list(yaml.safe_load_all(text))))


@pytest.mark.parametrize(
    ("engine", "old", "new", "field"),
    [
        ("vllm", "--dtype bfloat16", "--dtype bf16", "--dtype"),
        ("vllm", "--max-num-seqs 256", "--max-num-seqs many", "--max-num-seqs"),
        ("vllm", "--no-enable-expert-parallel", "--no-enable-expert-parallel 1", "--no-enable-expert-parallel"),
        ("vllm", '"cudagraph_mode"', '"cuda_graph_mode"', "--compilation-config.cuda_graph_mode"),
        ("sglang", "--page-size", "--block-size", "--block-size"),
        ("sglang", "--kv-cache-dtype auto", "--kv-cache-dtype fp8", "--kv-cache-dtype"),
        ("tensorrt_llm", "--tp_size", "--tp-size", "--tp-size"),
        ("tensorrt_llm", "tokens_per_block", "block_tokens", "kv_cache_config.block_tokens"),
    ],
)
def test_what_an_engine_would_not_take_is_named(engine: str, old: str, new: str, field: str) -> None:
    parts = told(resolved(engine, device="H100-SXM", max_num_seqs=256), engine)
    spoilt = json.loads(json.dumps(parts))
    line = "\x00".join(spoilt).replace(old.replace(" ", "\x00"), new.replace(" ", "\x00"))
    assert line != "\x00".join(parts)
    with pytest.raises(InputError) as caught:
        checking.command(engine, line.split("\x00"))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "path", "value", "told_of"),
    [
        ("kubernetes", ["spec", "template", "spec", "containers", 0, "port"], 8000, "Deployment"),
        ("compose", ["services", "engine-0", "imge"], "x", "imge"),
        ("ray_serve", ["applications", 0, "name"], 7, "Serve config"),
        ("ray_serve", ["applications", 0, "args", "llm_configs", 0, "engine_args"], {}, "engine_args"),
        ("ray_serve", ["applications", 0, "args", "llm_configs", 0, "engine_kwargs", "max_seqs"], 3, "--max-seqs"),
        ("dynamo", ["spec", "services", "Worker", "kind"], "worker", "Worker.kind"),
        ("dynamo", ["spec", "services", "Worker", "extraPodSpec", "nodeSelectors"], {}, "Pod"),
        ("llm_d", ["decode", "containers", 0, "arguments"], [], "arguments"),
        ("llm_d", ["decoder"], {}, "decoder"),
    ],
)
def test_what_a_platform_would_not_take_is_named(name: str, path: list[Any], value: Any, told_of: str) -> None:
    deployment = resolved(device="H100-SXM", router=ROUTERS.get(name, "random"))
    found = written(name, deployment, placed(deployment))
    place: Any = found[0]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InputError) as caught:
        list(checking.placed(name, "vllm", told(deployment), found))
    assert told_of in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_is_what_a_parser_has() -> None:
    parser = argparse.ArgumentParser(prog="engine")
    parser.add_argument("--seqs", type=int)
    parser.add_argument("--share", type=float)
    parser.add_argument("--kind", choices=["b", "a"])
    parser.add_argument("--graphs", action=argparse.BooleanOptionalAction)
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--hidden", help=argparse.SUPPRESS)
    parser.add_argument("model")
    found = tables.table_of(parser)
    assert found == {
        "--graphs": "flag", "--help": "flag", "--kind": ["a", "b"], "--names": "texts", "--no-graphs": "flag", "--seqs": "int",
        "--share": "float",
    }  # fmt: skip
    told_as = tables.written({"program": "engine", "version": "1", "source": "here", "options": found})
    assert json.loads(told_as)["options"] == found


@pytest.mark.parametrize("name", tables.PARSERS)
def test_a_stored_table_is_that_of_the_engine_where_it_is_installed(name: str) -> None:
    package = tables.PARSERS[name][0]
    pytest.importorskip(package.replace("-", "_"), reason=f"{package} is not installed here")
    assert tables.described(name)["options"] == dict(table(name).options)


def test_versions_are_those_that_the_launchers_are_written_for() -> None:
    assert (table("vllm").version, launcher("vllm").PROFILE) == ("0.19.0", "vllm-0.19")
    assert table("sglang").version.startswith("0.5.") and launcher("sglang").PROFILE == "sglang-0.5"
    assert check(table("vllm"), ["vllm", "serve", MODEL, "--port=8000"]) == 1
