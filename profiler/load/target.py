"""The server that is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Target:
    """One running server with OpenAI's API: its address without `/v1`, what it calls the model, and how it is asked.

    `token_ids` are prompts of exactly the wanted length; a chat takes text alone, whose length the server's usage counts tell.
    """

    url: str
    model: str
    api: Literal["completions", "chat"] = "completions"
    prompt: Literal["token_ids", "text"] = "token_ids"
    api_key: str | None = field(default=None, repr=False)
