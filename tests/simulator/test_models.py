"""The catalog's models: their weights add up to the published counts, and each says where its figures come from."""

from __future__ import annotations

import pytest

from simulator import catalog

# Published weights. Sizes of the checkpoint's safetensors index (`total_size`, two bytes a weight) for Llama-3.1-8B,
# Llama-2-7b, Mistral-7B-v0.3 and Qwen3-32B; parameter counts that Hugging Face shows for Llama-3.1-70B and Qwen3-8B;
# Together's model list for CodeLlama-34b and Llama-2-70b; the name and model card for Qwen-72B; 34.39 billion that lists of
# Hugging Face models show for Yi-34B-200K; the name for GPT-3 175B.
PUBLISHED = {
    "01-ai/Yi-34B-200K": 34.39e9,
    "Qwen/Qwen-72B": 72e9,
    "Qwen/Qwen3-32B": 65_524_246_528 / 2,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "codellama/CodeLlama-34b-Instruct-hf": 33_743_970_304,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Llama-2-7b-hf": 13_476_839_424 / 2,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-8B": 16_060_522_496 / 2,
    "meta-llama/Meta-Llama-3-8B": 16_060_522_496 / 2,
    "mistralai/Mistral-7B-v0.3": 14_496_047_104 / 2,
    "openai/GPT-3-175B-4K": 175e9,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_the_published_count(name: str) -> None:
    assert catalog.model(name).parameters == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", catalog.names("models"))
def test_every_model_is_of_a_known_family_and_names_its_sources(name: str) -> None:
    model = catalog.model(name)
    assert model.family in catalog.names("families")
    assert all(text.strip() for text in model.sources.values())


def test_qwen_72b_has_the_real_mlp_width() -> None:
    # Its config.json says twice as much, which would make a model of 120e9 weights.
    assert catalog.model("Qwen/Qwen-72B").intermediate_size == 24576
