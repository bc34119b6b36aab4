"""Model families, one a file; the file name is a Model's `family`.

A family module says which operators one iteration runs on each GPU, in four groups, because a price list has four parts:

- `token_operators(shard, tokens, captured)`: all that depends on the scheduled tokens alone;
- `sampled_operators(shard, sampled)`: all that runs on the sequences of which a token is sampled;
- `prefill_operators(shard, chunk, kv_before)`: attention of one sequence's chunk;
- `decode_operators(shard, batch, kv_mean)`: attention of all decodes.

What depends on the scheduled tokens and runs once an iteration (`count` 1) lies on the first stage of a pipeline when its
name begins with `embedding`, else on the last one; the rest is shared by the stages as their layers are.

Each returns a list of operators with distinct names; the arrays are the points, of one shape. `check(shard)` raises
InputError for a parallelism that the family cannot have.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.spec.deployment import Resolved
from simulator.spec.device import Dtype
from simulator.spec.model import Model


@dataclass(frozen=True)
class Shard:
    """The part of a model that one GPU holds under tensor parallelism."""

    model: Model
    tensor_parallel_size: int
    dtype: Dtype

    @classmethod
    def of(cls, model: Model, deployment: Resolved) -> Shard:
        """Returns the part of each GPU of a deployment."""
        return cls(model, deployment.tensor_parallel_size, deployment.dtype)

    @property
    def heads(self) -> int:
        """Query heads of one GPU."""
        return self.model.num_attention_heads // self.tensor_parallel_size

    @property
    def kv_heads(self) -> int:
        """KV heads of one GPU; where there are fewer than GPUs, each is kept more than once."""
        return max(1, self.model.num_key_value_heads // self.tensor_parallel_size)

    @property
    def intermediate_size(self) -> int:
        """The width of one GPU's part of the MLP."""
        return self.model.intermediate_size // self.tensor_parallel_size

    @property
    def vocab_size(self) -> int:
        """One GPU's part of the vocabulary, rounded up."""
        return -(-self.model.vocab_size // self.tensor_parallel_size)
