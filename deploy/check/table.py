"""`python -m deploy.check.table ENGINE`: the table of an engine's options, printed where that engine is installed.

Nothing of the parser is kept but names, kinds of value and choices.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Callable
from typing import Any

from simulator.errors import unknown_name

Entry = Any


def vllm() -> argparse.ArgumentParser:
    """Returns the parser of `vllm serve`."""
    made = importlib.import_module("vllm.entrypoints.openai.cli_args").make_arg_parser
    return made(importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser())  # type: ignore[no-any-return]


def sglang() -> argparse.ArgumentParser:
    """Returns the parser of `sglang.launch_server`."""
    parser = argparse.ArgumentParser()
    importlib.import_module("sglang.srt.server_args").ServerArgs.add_cli_args(parser)
    return parser


def dynamo_frontend() -> argparse.ArgumentParser:
    """Returns the parser of Dynamo's frontend."""
    parser = argparse.ArgumentParser()
    importlib.import_module("dynamo.frontend.frontend_args").FrontendArgGroup().add_arguments(parser)
    return parser


def dynamo_vllm() -> argparse.ArgumentParser:
    """Returns the parser of what Dynamo's worker adds to vLLM's options."""
    return _worker("dynamo.vllm.backend_args", "DynamoVllmArgGroup")


def dynamo_sglang() -> argparse.ArgumentParser:
    """Returns the parser of what Dynamo's worker adds to SGLang's options."""
    return _worker("dynamo.sglang.backend_args", "DynamoSGLangArgGroup")


def _worker(module: str, group: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    runtime = importlib.import_module("dynamo.common.configuration.groups.runtime_args")
    runtime.DynamoRuntimeArgGroup().add_arguments(parser)
    getattr(importlib.import_module(module), group)().add_arguments(parser)
    return parser


# By the name of the table: the package, its program, and the parser.
PARSERS: dict[str, tuple[str, str, Callable[[], argparse.ArgumentParser]]] = {
    "vllm": ("vllm", "vllm serve", vllm),
    "sglang": ("sglang", "sglang.launch_server", sglang),
    "dynamo_frontend": ("ai-dynamo", "dynamo.frontend", dynamo_frontend),
    "dynamo_vllm": ("ai-dynamo", "dynamo.vllm", dynamo_vllm),
    "dynamo_sglang": ("ai-dynamo", "dynamo.sglang", dynamo_sglang),
}


def kind_of(action: argparse.Action) -> Entry:
    """Returns the kind of an option's value, as `deploy.check.command.Kind` has it."""
    if action.nargs == 0:
        return "flag"
    if action.nargs in ("*", "+") or isinstance(action.nargs, int):
        return "texts"
    if action.choices:
        return sorted(str(choice) for choice in action.choices)
    named = getattr(action.type, "__name__", "")
    if action.type is int or "human_readable_int" in named:
        return "int"
    if action.type is float:
        return "float"
    if "dataclass" in named or named == "loads":
        fields = getattr(action.default, "__dataclass_fields__", None)
        return {"json": None if fields is None else sorted(fields)}
    return "text"


def table_of(parser: argparse.ArgumentParser) -> dict[str, Entry]:
    """Returns the kind of each option of a parser by its long names, sorted."""
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return dict(sorted((name, kind_of(action)) for action in actions for name in action.option_strings if name.startswith("--")))


def described(name: str, version: str | None = None) -> dict[str, Any]:
    """Returns the table of that name from what is installed; raises InputError for another name."""
    if name not in PARSERS:
        raise unknown_name("ENGINE", name, PARSERS)
    package, program, parser = PARSERS[name]
    version = version or importlib.metadata.version(package)
    source = f"the wheel of {package} {version}, its own parser"
    return {"program": program, "version": version, "source": source, "options": table_of(parser())}


def written(table: dict[str, Any]) -> str:
    """Returns a table as JSON, an option a line."""
    head = "".join(f" {json.dumps(key)}: {json.dumps(table[key])},\n" for key in ("program", "version", "source"))
    options = ",\n".join(f"  {json.dumps(name)}: {json.dumps(kind)}" for name, kind in table["options"].items())
    return f'{{\n{head} "options": {{\n{options}\n }}\n}}\n'


if __name__ == "__main__":
    sys.stdout.write(written(described(*sys.argv[1:3])))
