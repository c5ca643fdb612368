#!/usr/bin/env python3
"""Schemas for kubeconform, on disk: kube-schemas.py OUT VALIDATE VERSIONS MODULE...

VALIDATE is where pip put kubernetes-validate, which has the schemas of Kubernetes in it; VERSIONS are those wanted ("1.30 1.37"); each
MODULE is the folder of a Go module that has CustomResourceDefinitions in it. Used by scripts/tools.sh.
"""
import json
import pathlib
import sys

out, package, versions, *modules = sys.argv[1:]
sys.path.insert(0, package)
import yaml  # noqa: E402  it comes with kubernetes-validate

out = pathlib.Path(out)
# What the chart makes, besides Kubernetes' own.
KINDS = {
    "Gateway", "HTTPRoute", "BackendTrafficPolicy", "ClientTrafficPolicy", "SecurityPolicy", "EnvoyPatchPolicy", "Certificate",
    "PodMonitor", "PrometheusRule",
}


def write(path, schema):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema))


def kubernetes(version):
    """Each kind with the definitions that it reaches, since kubeconform wants one file."""
    source = pathlib.Path(package, "kubernetes_validate/kubernetes-json-schema", f"v{version}.0-local-strict")

    def read(path):
        return json.loads(path.read_text().replace("/api/_definitions.json#/$defs/", "#/definitions/").replace("#/$defs/", "#/definitions/"))

    definitions = read(source / "_definitions.json")["$defs"]
    for path in source.glob("*-v[12].json"):
        schema = read(path)
        if "kind" not in schema.get("properties", {}):
            continue
        needed, todo = {}, [schema]
        while todo:
            node = todo.pop()
            if isinstance(node, dict):
                name = str(node.get("$ref", "")).removeprefix("#/definitions/")
                if name in definitions and name not in needed:
                    needed[name] = definitions[name]
                    todo.append(definitions[name])
                todo += node.values()
            elif isinstance(node, list):
                todo += node
        write(out / f"v{version}.0" / path.name, {**schema, "definitions": needed})


def strict(node):
    """What a definition does not name is refused, as Kubernetes' own strict validation does."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: strict(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
    return node


def definitions(module):
    for path in sorted(pathlib.Path(module).rglob("*.yaml")):
        if "testdata" in path.parts or "experimental" in path.parts:
            continue
        text = path.read_text(errors="replace")
        if "\nkind: CustomResourceDefinition" not in text:
            continue
        # Some are templates, whose lines of their own are no YAML.
        text = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("{{"))
        try:
            documents = [document for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]
        except yaml.YAMLError:
            continue
        for document in documents:
            names = document.get("spec", {}).get("names", {})
            if names.get("kind") not in KINDS:
                continue
            for version in document["spec"]["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                # Its own three fields are in few of the definitions.
                for field in ("apiVersion", "kind"):
                    schema["properties"].setdefault(field, {"type": "string"})
                schema["properties"]["metadata"] = {"type": "object"}
                write(out / document["spec"]["group"] / f"{names['kind'].lower()}_{version['name']}.json", schema)


for version in versions.split():
    kubernetes(version)
for module in modules:
    definitions(module)
found = {path.name.split("_")[0] for path in out.rglob("*_v*.json")}
missing = {kind.lower() for kind in KINDS} - found
if missing:
    sys.exit(f"no definitions of {', '.join(sorted(missing))}")
