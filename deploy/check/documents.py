"""A platform's documents, checked: against its schema where the package that has it is installed, and their commands as always.

Each function takes what one platform's file writes and yields a sentence for each thing that it was held to, or that it could
not be held to here; it raises InputError for what the platform or the engine would not take.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module, resources
from typing import Any

from deploy.check.command import Table, check, table
from deploy.platforms import _kwargs
from simulator.errors import InputError

Documents = Sequence[Mapping[str, Any]]
KUBERNETES = "1.37"
# Names that the objects of others have, as far as they are used here (their sources: deploy/platforms).
SERVE_LLM = {
    "accelerator_type", "callback_config", "deployment_config", "engine_kwargs", "experimental_configs", "llm_engine",
    "log_engine_metrics", "lora_config", "model_loading_config", "placement_group_config", "runtime_env", "server_cls", "use_cpu",
}  # fmt: skip
DYNAMO_SERVICE = {
    "componentType", "envFromSecret", "envs", "extraPodSpec", "livenessProbe", "readinessProbe", "replicas", "resources",
    "subComponentType",
}  # fmt: skip
LLM_D = {
    "accelerator", "common", "decode", "enabled", "extraObjects", "fullnameOverride", "modelArtifacts", "multinode", "nameOverride",
    "prefill", "requester", "routing", "schedulerName", "serviceAccountOverride",
}  # fmt: skip
LLM_D_CONTAINER = {
    "args", "command", "env", "extraConfig", "image", "imagePullPolicy", "modelCommand", "mountModelVolume", "name", "ports",
    "resources", "volumeMounts",
}  # fmt: skip


def documents(platform: str, engine: str, found: Documents) -> Iterator[str]:
    """Yields what the documents of a platform, which run an engine, were held to."""
    checks: dict[str, Callable[[str, Documents], Iterator[str]]] = {
        "compose": _compose, "dynamo": _dynamo, "kubernetes": _kubernetes, "llm_d": _llm_d, "ray_serve": _ray_serve,
    }  # fmt: skip
    yield from checks[platform](engine, found)


def _kubernetes(engine: str, found: Documents) -> Iterator[str]:
    known = [each for each in found if each["kind"] != "ScaledObject"]
    yield _objects(known)
    if len(known) < len(found):
        yield "KEDA's ScaledObject: not checked, its schema is in no package"


def _compose(engine: str, found: Documents) -> Iterator[str]:
    try:
        schemas = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
        schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    except ModuleNotFoundError:
        yield _missing("the schema of Compose", "check-jsonschema")
        return
    validator = import_module("jsonschema").validators.validator_for(schema)(schema)
    for error in validator.iter_errors(found[0]):
        raise InputError(".".join(map(str, error.absolute_path)) or "document", error.instance, error.message)
    yield "the Compose Specification's schema"


def _dynamo(engine: str, found: Documents) -> Iterator[str]:
    options = 0
    both = _together(table(engine), table(f"dynamo_{engine}"))
    for name, service in found[0]["spec"]["services"].items():
        _known(f"spec.services.{name}", service, DYNAMO_SERVICE)
        container = service["extraPodSpec"]["mainContainer"]
        options += check(table("dynamo_frontend") if name == "Frontend" else both, container["args"])
        rest = {key: value for key, value in service["extraPodSpec"].items() if key != "mainContainer"}
        pods = _objects([_pod({**container, "env": service.get("envs", [])}, rest)])
    yield f"{options} options among {table('dynamo_frontend')} and {both}"
    yield f"the parts of its pods: {pods}"


def _llm_d(engine: str, found: Documents) -> Iterator[str]:
    [values] = found
    _known("values", values, LLM_D)
    options, seen = 0, ""
    for role in ("decode", "prefill"):
        if not values[role]["create"]:
            continue
        for container in values[role]["containers"]:
            _known(f"{role}.containers", container, LLM_D_CONTAINER)
            options += check(table(engine), container["args"])
            own = {"name", "image", "command", "args", "env", "ports", "resources", "volumeMounts"}
            pod = {key: value for key, value in container.items() if key in own} | container["extraConfig"]
            selector = {key: values[role][key] for key in ("nodeSelector", "volumes") if key in values[role]}
            seen = _objects([_pod(pod, selector)])
    yield f"{options} options among {table(engine)}"
    yield f"the parts of its pods: {seen}"
    if objects := values.get("extraObjects"):
        _objects(objects)


def _ray_serve(engine: str, found: Documents) -> Iterator[str]:
    [application] = found[0]["applications"]
    [config] = application["args"]["llm_configs"]
    _known("llm_configs", config, SERVE_LLM)
    options = check(table(engine), _kwargs.to_flags(config["engine_kwargs"]))
    yield f"{options} arguments among {table(engine)}"
    try:
        with warnings.catch_warnings():
            # Ray's own: fields declared in a form that pydantic gives up.
            warnings.simplefilter("ignore")
            schema = import_module("ray.serve.schema").ServeDeploySchema
    except ImportError:
        yield _missing("Ray Serve's schema", "ray[serve]")
        return
    try:
        schema.model_validate(found[0])
    except ValueError as error:
        raise InputError("document", "Serve config", " ".join(str(error).split())) from None
    yield "Ray Serve's schema (ServeDeploySchema)"


def _objects(found: Documents) -> str:
    """Returns what objects of Kubernetes were held to."""
    try:
        validator = import_module("kubernetes_validate")
    except ModuleNotFoundError:
        return _missing(f"the schemas of Kubernetes {KUBERNETES}", "kubernetes-validate")
    for each in found:
        try:
            validator.validate(each, KUBERNETES, strict=True)
        except validator.ValidationError as error:
            raise InputError(f"{each['kind']}.{error.path or ''}".rstrip("."), "given", " ".join(error.message.split())) from None
    return f"the schemas of Kubernetes {KUBERNETES}"


def _pod(container: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a pod with a container that an operator would make, to be held to the schema of pods."""
    body = {"name": "main", **container}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": {**spec, "containers": [body]}}


def _known(place: str, found: Mapping[str, Any], names: set[str]) -> None:
    for name in found:
        if name not in names:
            raise InputError(f"{place}.{name}", found[name], ", ".join(sorted(names)))


def _together(first: Table, second: Table) -> Table:
    return Table(f"{second.program} with {first.program}", second.version, second.source, {**first.options, **second.options})


def _missing(what: str, package: str) -> str:
    return f"not {what}: {package} is not installed"
