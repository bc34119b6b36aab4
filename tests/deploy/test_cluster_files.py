"""The service on a cluster: objects held to Kubernetes' schemas, Ray's files to Ray's own, and commands to what runs them."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from search.cli import main
from tests.databases import postgresql, postgresql_url
from tests.deploy.manifests import KUSTOMIZE, SERVICE, Object, accepted, built, containers, stated, templates

__all__ = ["postgresql", "postgresql_url"]
EXAMPLE = stated(KUSTOMIZE / "example")
BUILT_IN = [each for each in EXAMPLE if each["kind"] != "RayCluster"]
[RAY] = [each for each in EXAMPLE if each["kind"] == "RayCluster"]
GROUPS = [RAY["spec"]["headGroupSpec"], *RAY["spec"]["workerGroupSpecs"]]
LAUNCHER = SERVICE / "ray-cluster.yaml"
KUBERNETES = "1.37"


def name_of(each: Object) -> str:
    """Returns the kind and the name of an object."""
    return f"{each['kind']}/{each['metadata']['name']}"


def pod(template: Object) -> Object:
    """Returns a pod of a template."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", **template["metadata"]}, "spec": template["spec"]}


@pytest.mark.parametrize("each", BUILT_IN, ids=name_of)
def test_every_object_is_as_kubernetes_says(each: Object) -> None:
    kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("group", GROUPS, ids=("head", "node"))
def test_the_pods_of_ray_are_as_kubernetes_says(group: Object) -> None:
    kubernetes_validate.validate(pod(group["template"]), KUBERNETES, strict=True)
    spoilt = pod(yaml.safe_load(yaml.safe_dump(group["template"])))
    spoilt["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, KUBERNETES, strict=True)


def test_the_ray_cluster_has_the_fields_of_kuberay_and_nothing_else() -> None:
    spec = RAY["spec"]
    assert RAY["apiVersion"] == "ray.io/v1"
    assert set(spec) <= {
        "rayVersion",
        "authOptions",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    assert set(spec["autoscalerOptions"]) <= {
        "idleTimeoutSeconds",
        "upscalingMode",
        "version",
        "resources",
        "securityContext",
        "volumeMounts",
    }
    assert spec["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    assert spec["authOptions"] == {"mode": "token"}
    head, *workers = GROUPS
    assert set(head) == {"rayStartParams", "template"}
    for each in workers:
        assert set(each) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert 0 <= each["minReplicas"] <= each["replicas"] <= each["maxReplicas"]
    for each in GROUPS:
        assert all(isinstance(value, str) for value in each["rayStartParams"].values())
        # The second autoscaler asks for it; the worker beside the head is to come back all the same.
        assert each["template"]["spec"]["restartPolicy"] == "Never"
    [worker] = head["template"]["spec"]["initContainers"]
    assert worker["restartPolicy"] == "Always"
    # The container of the autoscaler, which the operator adds, mounts what the pod has.
    volumes = {each["name"] for each in head["template"]["spec"]["volumes"]}
    assert {each["name"] for each in spec["autoscalerOptions"]["volumeMounts"]} <= volumes


def test_the_ray_of_the_image_is_the_one_that_is_named() -> None:
    pinned = re.search(r"^ray==(.*)$", (SERVICE.parents[1] / "constraints.txt").read_text(), re.M)
    assert pinned is not None and RAY["spec"]["rayVersion"] == pinned[1] == version("ray")


def ray_words(command: str) -> list[str]:
    """Returns the options of a `ray start`."""
    return command.removeprefix("ray start ").split()


def test_ray_takes_the_options_that_start_it() -> None:
    from ray.scripts import scripts

    def options(words: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = scripts.start.make_context("start", words).params
        return found

    given = [
        [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in each["rayStartParams"].items()]
        for each in GROUPS
    ]
    assert options(["--head", *given[0]])["num_cpus"] == 1
    assert options(["--address=head:6379", *given[1]])["address"] == "head:6379"
    launched = yaml.safe_load(LAUNCHER.read_text())
    [head] = [each for each in launched["head_start_ray_commands"] if each.startswith("ray start")]
    assert options(ray_words(head))["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    [node] = [each for each in launched["worker_start_ray_commands"] if each.startswith("ray start")]
    assert options(ray_words(node))["address"] == "$RAY_HEAD_IP:6379"
    with pytest.raises(Exception, match="No such option"):
        options(["--num-cores=1"])


@pytest.mark.parametrize("each", [each for each in EXAMPLE if list(templates(each))], ids=name_of)
def test_containers_run_without_root_and_write_only_to_volumes(each: Object) -> None:
    for spec, container in containers(each):
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        allowed = container["securityContext"]
        assert allowed == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"} and "memory" in container["resources"]["limits"]
        assert spec["enableServiceLinks"] is False
        assert {mount["name"] for mount in container["volumeMounts"]} <= {
            *(volume["name"] for volume in spec.get("volumes", ())),
            *(claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())),
        }


def test_secrets_are_named_and_never_written() -> None:
    assert not [each for each in EXAMPLE if each["kind"] == "Secret"]
    named = set()
    for each in EXAMPLE:
        for _, container in containers(each):
            for variable in container.get("env", ()):
                if re.search("PASSWORD|TOKEN|TRIMTAB_DB", variable["name"]):
                    named.add((*variable["valueFrom"]["secretKeyRef"].values(),))
    assert named == {("trimtab-database", "url"), ("trimtab-database", "password"), (RAY["metadata"]["name"], "auth_token")}


def test_what_is_referred_to_is_there() -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in EXAMPLE}
    labels = [template["metadata"]["labels"] for each in EXAMPLE for template in templates(each)]
    for each in EXAMPLE:
        spec = each.get("spec", {})
        for template in templates(each):
            for volume in template["spec"].get("volumes", ()):
                if claim := volume.get("persistentVolumeClaim"):
                    assert ("PersistentVolumeClaim", claim["claimName"]) in there
            if account := template["spec"].get("serviceAccountName"):
                assert ("ServiceAccount", account) in there
        if each["kind"] == "Service":
            assert any(spec["selector"].items() <= each.items() for each in labels)
        if each["kind"] == "PodDisruptionBudget":
            assert any(spec["selector"]["matchLabels"].items() <= each.items() for each in labels)
        if each["kind"] == "Ingress":
            for path in spec["rules"][0]["http"]["paths"]:
                assert ("Service", path["backend"]["service"]["name"]) in there


def test_commands_are_those_that_trimtab_takes() -> None:
    composed = yaml.safe_load((SERVICE / "compose.yaml").read_text())["services"]
    found = {
        container["name"]: container for each in EXAMPLE for _, container in containers(each) if container["image"] == "trimtab"
    }
    # Processes of the same command lines serve a study in test_service_files.py.
    for name in ("api", "dashboard"):
        assert found[name]["args"] == composed[name]["command"]
        assert accepted(found[name]["args"])["only"] == name
        assert found[name]["ports"] == [{"name": "http", "containerPort": accepted(found[name]["args"])["port"]}]
        paths = [found[name][probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert paths == ["/healthz", "/readyz", "/healthz"]
    accepted(found["migrate"]["args"])
    [plain] = [each for each in EXAMPLE if name_of(each) == "Deployment/trimtab-worker"]
    for words in (
        plain["spec"]["template"]["spec"]["containers"][0]["args"],
        found["worker"]["args"][0].rpartition("exec trimtab ")[2].split(),
    ):
        assert accepted(words)["only"] == "worker"
    launched = yaml.safe_load(LAUNCHER.read_text())["head_start_ray_commands"][-1]
    words = re.search(r"setsid trimtab (.*?) >", launched)
    assert words is not None and accepted(words[1].split())["only"] == "worker"
    with pytest.raises(Exception, match="No such option"):
        accepted(["serve", "--part", "api"])


def test_ray_and_the_database_are_closed_to_everyone_else() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in EXAMPLE if each["kind"] == "NetworkPolicy"}
    assert policies["trimtab-closed"].get("ingress") is None
    [postgres] = policies["trimtab-postgres"]["ingress"]
    assert postgres["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "trimtab"}}}]
    assert policies["trimtab-postgres"].get("egress") is None
    nodes, operator = policies["trimtab-ray"]["ingress"]
    assert nodes == {"from": [{"podSelector": {"matchLabels": {"ray.io/cluster": RAY["metadata"]["name"]}}}]}
    assert operator["ports"] == [{"port": 8265}]


def test_kustomize_builds_what_the_files_state() -> None:
    found = {name_of(each): each for each in built(KUSTOMIZE / "example")}
    assert found.keys() == {name_of(each) for each in EXAMPLE} - {"Deployment/trimtab-worker"}
    assert {name_of(each) for each in built(KUSTOMIZE / "base")} == {name_of(each) for each in stated(KUSTOMIZE / "base")}
    for each in found.values():
        assert each["metadata"]["namespace"] == "trimtab"
        if each["kind"] != "RayCluster":
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
        for template in templates(each):
            kubernetes_validate.validate(pod(template), KUBERNETES, strict=True)
            assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "trimtab"
        for _, container in containers(each):
            assert container["image"] in ("registry.example.com/trimtab:1", "postgres:17")
    for part in ("api", "dashboard"):
        [container] = found[f"Deployment/trimtab-{part}"]["spec"]["template"]["spec"]["containers"]
        assert {"name": "FORWARDED_ALLOW_IPS", "value": "10.0.0.0/8"} in container["env"]


def test_the_launcher_is_as_ray_says() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    found = prepare_config(yaml.safe_load(LAUNCHER.read_text()))
    validate_config(found)
    # Nothing of Ray's defaults, which would install another Ray, is left.
    assert found["setup_commands"] == found["worker_setup_commands"] == []
    spoilt = {**found, "max_nodes": 2}
    with pytest.raises(Exception, match="max_nodes"):
        validate_config(spoilt)


def test_the_image_has_ray_where_a_login_shell_looks() -> None:
    text = (SERVICE / "Dockerfile").read_text().rpartition("FROM ")[2]
    assert "ln -s /opt/trimtab/bin/ray /opt/trimtab/bin/trimtab /usr/local/bin/" in text


@pytest.mark.slow
def test_a_backup_holds_the_store_and_the_last_fourteen_stay(postgresql_url: str, tmp_path: Path) -> None:
    [job] = [each for each in EXAMPLE if each["kind"] == "CronJob"]
    [(_, container)] = containers(job)
    assert main(["migrate", "--db", postgresql_url]) == 0
    for day in range(1, 21):
        (tmp_path / f"2026-01-{day:02d}T021700Z.dump").touch()
    environment = {**os.environ, "TRIMTAB_DB": postgresql_url, "BACKUPS": str(tmp_path)}
    command = [*container["command"], *container["args"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = sorted(each.name for each in tmp_path.iterdir())
    assert len(kept) == 14 and kept[0] == "2026-01-08T021700Z.dump"
    listed = subprocess.run(["pg_restore", "--list", str(tmp_path / kept[-1])], capture_output=True, text=True, check=True).stdout
    assert "TABLE DATA public studies" in listed
    # A database that is away leaves the older ones as they are, and the job fails.
    away = {**environment, "TRIMTAB_DB": "postgresql://trimtab@127.0.0.1:1/none"}
    assert subprocess.run(command, env=away, capture_output=True, check=False).returncode != 0
    assert sorted(each.name for each in tmp_path.glob("*.dump")) == kept
