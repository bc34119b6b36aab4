"""What every noun shares: frozen, strict, unknown fields refused, errors told in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.errors import MISSING, InputError, unknown_name


class Spec(BaseModel):
    """A noun: immutable, hashable by its canonical JSON, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: object, field: str = "") -> Self:
        """Returns the noun that `data` describes; raises InputError naming the first wrong field under `field`."""
        if not isinstance(data, Mapping):
            raise InputError(field or cls.__name__.lower(), data, f"a mapping of fields: {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise first_error(error, cls, field) from None

    def __hash__(self) -> int:
        # Fields may be mappings, which pydantic's own hash of a frozen model cannot take.
        return hash(self.canonical())

    def canonical(self) -> str:
        """Returns the JSON text that is equal for equal nouns."""
        return self.model_dump_json(exclude_none=False)


def first_error(error: ValidationError, cls: type[BaseModel], field: str = "") -> InputError:
    """Returns pydantic's first complaint as one line with the field's path, the value and what is allowed."""
    return every_error(error, cls, field)[0]


def every_error(error: ValidationError, cls: type[BaseModel], field: str = "") -> list[InputError]:
    """Returns pydantic's complaints, each with the field's path, the value and what is allowed; unknown fields come first."""
    # An unknown field is the likeliest cause of the other complaints, so it is told first.
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    return [complaint(detail, cls, field) for detail in details]


def complaint(detail: Mapping[str, Any], cls: type[BaseModel] | None = None, field: str = "") -> InputError:
    """Returns one of pydantic's complaints, of a model or of a single value, as our own error."""
    path = ".".join([field, *(str(part) for part in detail["loc"])]).strip(".")
    context: dict[str, Any] = dict(detail.get("ctx") or {})
    cause = context.get("error")
    if isinstance(cause, InputError):
        inner = ".".join(part for part in (path, cause.field) if part)
        return InputError(inner, cause.value, cause.allowed)
    if detail["type"] == "extra_forbidden" and cls is not None:
        return unknown_name(f"{path} (unknown field)", detail["input"], _fields_at(cls, detail["loc"][:-1]))
    if detail["type"] == "missing":
        return InputError(path, MISSING, "a value, since the field is required")
    return InputError(path, detail["input"], _allowed(detail["type"], detail["msg"], context))


def _allowed(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Returns what a field takes, in the words of whoever writes YAML or JSON."""
    if kind in ("tuple_type", "list_type"):
        return "a list"
    if kind in ("dict_type", "mapping_type", "model_type", "model_attributes_type"):
        return "a mapping of fields"
    if kind == "too_short":
        return (
            f"at least {context['min_length']}, or no such field"
            if context["min_length"] == 1
            else f"{context['min_length']} or more"
        )
    if kind == "too_long":
        return f"at most {context['max_length']}"
    return message.removeprefix("Value error, ").removeprefix("Input should be ")


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Returns the field names of the model that lies at `loc` under `cls`."""
    current: type[BaseModel] = cls
    for part in loc:
        annotation = current.model_fields[part].annotation if part in current.model_fields else None
        current = next(_models_in(annotation), current)
    return list(current.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yields the models that an annotation is made of, as `dict[str, Model] | None` is."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """YAML that reads 1e12 as a number and refuses a key given twice."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"field {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 takes 3.35e12 for text unless the exponent has a sign; people and JSON write it without.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path, field: str = "file") -> dict[str, Any]:
    """Returns the mapping in a YAML file; raises InputError when it is absent, unreadable, broken or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(field, str(path), f"a readable YAML file ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(field, str(path), "a YAML file in UTF-8") from None
    return yaml_mapping(text, field, str(path))


def yaml_mapping(text: str, field: str, shown: str) -> dict[str, Any]:
    """Returns the mapping in a YAML text; raises InputError, with the line, where it is broken or no mapping."""
    try:
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}: {getattr(error, 'problem', 'broken')})" if mark else ""
        raise InputError(field, shown, f"valid YAML{where}") from None
    if not isinstance(data, dict):
        raise InputError(field, shown, "a YAML file with a mapping of fields at its top")
    return {str(key): value for key, value in data.items()}


def yaml_scalar(text: str) -> Any:
    """Returns what a text means as one value of YAML; the text itself where it is no YAML or more than one value."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, bool | int | float | str) else text
