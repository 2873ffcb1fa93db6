"""Take the schemas that tests/infra checks manifests against out of KubeRay's definitions.

    python tests/infra/take_schemas.py KUBERAY/ray-operator/config/crd/bases

Run by hand for a new KubeRay; tests/infra/schemas/README.md says which one this was.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

KINDS = {"RayJob": "rayjobs", "RayCluster": "rayclusters"}
SCHEMAS = Path(__file__).parent / "schemas"


def main() -> None:
    """Write one file a kind."""
    for kind, plural in KINDS.items():
        text = (Path(sys.argv[1]) / f"ray.io_{plural}.yaml").read_text(encoding="utf-8")
        versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]
        schema = next(each for each in versions if each["name"] == "v1")["schema"]
        plain = json.dumps(without_descriptions(schema["openAPIV3Schema"]), sort_keys=True)
        # No time stamp: the same definitions give the same bytes.
        packed = gzip.compress(plain.encode(), compresslevel=9, mtime=0)
        (SCHEMAS / f"{kind.lower()}_v1.json.gz").write_bytes(packed)


def without_descriptions(schema: Any) -> Any:
    """Return a schema without its prose; a property that is called description stays."""
    if isinstance(schema, list):
        return [without_descriptions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_descriptions(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


if __name__ == "__main__":
    main()
