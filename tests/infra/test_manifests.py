"""The manifests are what KubeRay and Ray take, and say what the package can do."""

import gzip
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import ray
import yaml

from latentcache.cli.entry import cli
from latentcache.runner import read_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFESTS = sorted((REPOSITORY / "infra" / "kubernetes").glob("*.yaml"))
SCHEMAS = Path(__file__).parent / "schemas"
EVERY_MANIFEST = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _of_ray(path: Path) -> dict[str, Any]:
    return next(each for each in _documents(path) if each["apiVersion"] == "ray.io/v1")


def _closed(schema: Any) -> Any:
    """Return a schema that refuses what it does not name, as an API server with strict fields."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if closed.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    is_open = closed.get("x-kubernetes-preserve-unknown-fields", False)
    if closed.get("type") == "object" and "properties" in closed and not is_open:
        closed.setdefault("additionalProperties", False)
    return closed


def _complaints(document: dict[str, Any]) -> list[str]:
    packed = (SCHEMAS / f"{document['kind'].lower()}_v1.json.gz").read_bytes()
    schema = json.loads(gzip.decompress(packed))
    schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
    found = jsonschema.Draft7Validator(_closed(schema)).iter_errors(document)
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:200]}" for each in found]


def _pod_specs(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@EVERY_MANIFEST
def test_kuberay_knows_every_field_of_a_manifest(path: Path) -> None:
    assert _complaints(_of_ray(path)) == []


@EVERY_MANIFEST
def test_a_misspelt_field_and_a_wrong_type_would_be_found(path: Path) -> None:
    document = _of_ray(path)
    pod = _pod_specs(document)[1]
    pod["containers"][0]["imagePullPolicyy"] = "Always"
    pod["terminationGracePeriodSeconds"] = "soon"
    complaints = "\n".join(_complaints(document))
    assert "imagePullPolicyy" in complaints
    assert "terminationGracePeriodSeconds" in complaints


@EVERY_MANIFEST
def test_a_cluster_asks_for_a_token_and_is_not_open_to_the_world(path: Path) -> None:
    spec = _of_ray(path)["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


@EVERY_MANIFEST
def test_pods_run_without_rights_and_write_to_tmp_alone(path: Path) -> None:
    for pod in _pod_specs(_of_ray(path)):
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        mounts = {each["mountPath"] for each in container["volumeMounts"]}
        assert "/tmp" in mounts
        assert {each["name"] for each in container["volumeMounts"]} <= {
            each["name"] for each in pod["volumes"]
        }


@EVERY_MANIFEST
def test_user_and_ray_are_those_of_the_image(path: Path) -> None:
    dockerfile = (REPOSITORY / "infra" / "Dockerfile").read_text(encoding="utf-8")
    pinned = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    spec = _of_ray(path)["spec"]
    assert f"ray=={spec.get('rayClusterSpec', spec)['rayVersion']}" in pinned
    for pod in _pod_specs(_of_ray(path)):
        assert f"USER {pod['securityContext']['runAsUser']}" in dockerfile


def test_recipe_of_the_job_is_read_and_its_command_exists(tmp_path: Path) -> None:
    config, job = _documents(REPOSITORY / "infra" / "kubernetes" / "rayjob.yaml")
    recipe_path = tmp_path / "recipe.toml"
    recipe_path.write_text(config["data"]["recipe.toml"], encoding="utf-8")
    recipe = read_recipe(recipe_path, {})
    assert recipe.store
    assert "://" in recipe.store
    program, command, *words = shlex.split(job["spec"]["entrypoint"])
    assert program == "latentcache"
    options, _, _ = cli.commands[command].make_parser(click.Context(cli)).parse_args(words)
    assert "/etc/latentcache/recipe.toml" in map(str, options.values())
    assert "auto" in options.values()


def test_ray_up_takes_its_file() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    text = (REPOSITORY / "infra" / "ray-up.yaml").read_text(encoding="utf-8")
    util.validate_config(util.prepare_config(yaml.safe_load(text)))
    misspelt = {**yaml.safe_load(text), "max_worker": 3}
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        util.validate_config(util.prepare_config(misspelt))


def test_every_start_of_ray_up_asks_for_the_token() -> None:
    text = (REPOSITORY / "infra" / "ray-up.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [each for each in commands if "ray start" in each]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in each for each in starts)
    assert any(name.endswith("/.ray/auth_token") for name in config["file_mounts"])


def test_every_cluster_gives_up_a_cut_link_within_half_a_minute() -> None:
    written = {}
    for name in ("start_head.sh", "slurm/build.sbatch", "ray-up.yaml"):
        text = (REPOSITORY / "infra" / name).read_text(encoding="utf-8")
        written[name] = dict(re.findall(r'"((?:health_check|grpc_client)\w+)":(\d+)', text))
    for name in ("rayjob", "raycluster"):
        text = (REPOSITORY / f"infra/kubernetes/{name}.yaml").read_text(encoding="utf-8")
        written[name] = dict(re.findall(r'RAY_(\w+), value: "(\d+)"', text))
        assert text.count("env: ") == text.count("envFrom: ")
    settings = written["start_head.sh"]
    assert all(each == settings for each in written.values()), written
    # Named as Ray names them: a misspelt one is passed over in silence.
    library = Path(ray._raylet.__file__).read_bytes()
    assert all(name.encode() in library for name in settings)
    health_s = (int(settings["health_check_timeout_ms"]) + 3000) / 1000
    assert health_s * int(settings["health_check_failure_threshold"]) <= 30
    assert int(settings["grpc_client_keepalive_time_ms"]) <= 10000
