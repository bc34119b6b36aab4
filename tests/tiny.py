"""A processor and a model small enough for it, as a user's own catalog has them."""

from __future__ import annotations

# Peaks far above what any processor reaches, so that no measured time is below the roofline.
DEVICE = {
    "vendor": "cpu",
    "architecture": "x86_64",
    "memory_bytes": 16 << 30,
    "memory_bandwidth_bytes_per_s": 1e13,
    "peak_flops_per_s": {"float32": 1e15, "bfloat16": 1e15},
    "link": {"pcie_bytes_per_s": 1e13, "gpus_per_node": 2},
    "sources": {"all": "made for tests"},
}
MODEL = {
    "family": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "sources": {"all": "made for tests"},
}
