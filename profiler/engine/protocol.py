"""What the HTTP front takes and gives, as OpenAI's API has it, for prompts that are token ids."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from profiler.engine.sampling import Sampling
from simulator.errors import InputError


class StreamOptions(BaseModel):
    """Whether the stream ends with a count of tokens."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class CompletionRequest(BaseModel):
    """The body of /v1/completions; parameters that would change the tokens and are not implemented take their neutral value."""

    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    prompt: list[int] | list[list[int]]
    max_tokens: int = Field(default=16, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    n: Literal[1] = 1
    best_of: Literal[1] | None = None
    top_p: Literal[1] = 1
    top_k: Literal[-1, 0] = 0
    min_tokens: Literal[0] = 0
    repetition_penalty: Literal[1] = 1
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logprobs: None = None
    echo: Literal[False] = False
    stop: None = None

    def tokens(self) -> list[int]:
        """Returns the prompt; raises InputError for several at once."""
        prompts = [prompt for prompt in self.prompt if isinstance(prompt, list)]
        if len(prompts) > 1:
            raise InputError("prompt", f"{len(prompts)} prompts", "one")
        return prompts[0] if prompts else [token for token in self.prompt if isinstance(token, int)]

    def sampling(self, drawn_seed: int) -> Sampling:
        """Returns how its tokens are picked, by its own seed or the one drawn for it."""
        return Sampling(self.max_tokens, self.temperature, drawn_seed if self.seed is None else self.seed, self.ignore_eos)


class Answer:
    """The documents that answer one request, whole or in chunks; text is the token ids, since there is no tokenizer."""

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self.head: dict[str, Any] = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._prompt_tokens = prompt_tokens

    def part(self, tokens: list[int], reason: str | None) -> dict[str, Any]:
        """Returns a document with some tokens and why they end, if they do."""
        text = "".join(f" {token}" for token in tokens)
        choice = {"index": 0, "text": text, "token_ids": tokens, "logprobs": None, "finish_reason": reason}
        return {**self.head, "choices": [choice]}

    def usage(self, completion_tokens: int, cached_tokens: int = 0) -> dict[str, Any]:
        """Returns how many tokens went in, how many of those were in the prefix cache, and how many came out."""
        total = self._prompt_tokens + completion_tokens
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
        }


def error(message: str, kind: str, code: int) -> dict[str, Any]:
    """Returns an error document."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
