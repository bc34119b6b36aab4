"""The example that a first visitor may run: that of the README."""

from __future__ import annotations

from typing import Any

from db.session import Store
from search import service
from search.asking import allowed

REQUEST: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "space": {
        "device": ["H100-SXM", "H200-SXM", "A100-80G-SXM", "L40S"],
        "tensor_parallel_size": [1, 2, 4],
        "scheduler": ["vllm_v1", "sarathi_serve"],
        "max_num_batched_tokens": [512, 2048, 8192],
        "max_num_seqs": 256,
        "max_model_len": 16384,
    },
    "objectives": ["usd_per_million_output_tokens", "ttft_p99_s"],
    "budget": {"max_gpus": 16, "trials": 300},
}


def submit(store: Store) -> str:
    """Returns the id of the study of the example, now waiting for a worker; raises Forbidden where the caller may not submit."""
    return service.submit(store, REQUEST, key_id=allowed("submit").key_id).study.id
