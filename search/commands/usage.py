"""How wrong options and arguments are told, like every other wrong input."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperGroup

from simulator.errors import MISSING, InputError, unknown_name


class Commands(TyperGroup):
    """A group of commands that answers an unknown one with the list of all."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the command that `args` begins with; raises InputError for one that there is not."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown_name("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


def told(error: typer.TyperException) -> InputError:
    """Returns the InputError that says what a parser's complaint means."""
    context: Any = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    option: Any = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        return unknown_name("option", option, _options(context))
    if option is not None:
        if "requires" in error.message:
            return InputError(option, MISSING, "a value after it")
        return InputError(option, "a value", "no value after it")
    if parameter is not None:
        return _wrong_value(error, parameter)
    surplus = re.search(r"unexpected extra argument\S* \((.*)\)", error.message)
    if surplus:
        arguments = ", ".join(p.metavar for p in context.command.params if p.param_type_name == "argument")
        return InputError("argument", surplus[1], f"nothing after {arguments}" if arguments else "no argument")
    return InputError("command line", error.format_message(), _usage(context))


def _wrong_value(error: typer.TyperException, parameter: Any) -> InputError:
    name = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
    if not isinstance(error.__cause__, ValueError):
        return InputError(name, MISSING, "a value, since it is required")
    details: list[Any] = getattr(error.__cause__, "errors", list)()
    value = details[0]["input"] if details else error.message
    kind = getattr(parameter.type_descriptor.annotation, "__name__", "")
    number = {"int": "a whole number", "float": "a number"}.get(kind)
    return InputError(name, value, error.message if number is None else number + _range(parameter))


def _range(parameter: Any) -> str:
    """Returns the bounds of a number, in words; empty where it has none."""
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    return ("" if low is None else f" from {low:g}") + ("" if high is None else f" to {high:g}")


def _options(context: Any) -> list[str]:
    return [max(p.opts, key=len) for p in context.command.get_params(context) if p.param_type_name == "option"]


def _usage(context: Any) -> str:
    return "what --help shows" if context is None else " ".join(context.get_usage().split())
