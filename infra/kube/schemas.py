"""The schemas of KubeRay's resources, strict: an unknown field is refused, as `kubectl --validate=strict` does.

For where no cluster can be asked. They are not part of this project: they come from a folder of
CustomResourceDefinitions (KubeRay's `config/crd/bases`) or of JSON Schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from data.errors import UserError
from data.files.yaml_files import read_text
from infra.kube.documents import Violation
from infra.kube.rules.shape import INT32

if TYPE_CHECKING:
    import jsonschema

KINDS = {"RayJob": "rayjobs", "RayCluster": "rayclusters", "RayCronJob": "raycronjobs"}
GROUP, VERSION = "ray.io", "v1"

# libyaml's, where PyYAML was built with it: KubeRay's definitions are 3 MB.
_FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Schemas = Mapping[str, Mapping[str, Any]]
"""Kind -> JSON Schema of its whole document."""


def schemas_from_folder(folder: str, wanted: Collection[str] = tuple(KINDS)) -> Schemas:
    """The schemas that a folder holds, whatever its files are called.

    Args:
        wanted: kinds to look for; a file that names none of them is not parsed.

    Raises:
        UserError: it lacks one of them, or a file cannot be read.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--schemas {folder!r} is no folder; give one with KubeRay's CRDs, or JSON Schemas of them")
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix in (".json", ".yaml", ".yml"):
            for document in _documents(path, wanted):
                found.update(schemas_of(document))
    if missing := sorted(set(wanted) - found.keys() - {"RayCronJob"}):
        raise UserError(f"--schemas {folder!r} holds no schema of {missing[0]}s; give KubeRay's config/crd/bases")
    return found


def _documents(path: Path, wanted: Collection[str]) -> list[Any]:
    try:
        text = read_text(path)
        if path.suffix == ".json":
            return [json.loads(text)]
        defined = _DEFINED.search(text)
        return list(yaml.load_all(text, _FastLoader)) if defined is None or defined[1] in wanted else []
    except json.JSONDecodeError as error:
        raise UserError(f"--schemas {str(path)!r} is no JSON: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"--schemas {str(path)!r} is no YAML: {error}") from error
    except UserError as error:
        raise UserError(f"--schemas {str(path)!r}: {error}") from error


_DEFINED = re.compile(r"^    kind: (\w+)$", re.MULTILINE)
"""The kind that a CustomResourceDefinition defines, as its file is written: 1 MB that need not be parsed to know."""


def schemas_of(document: Any) -> dict[str, Mapping[str, Any]]:
    """Kind -> schema of a definition, or of a JSON Schema that names its kind as a constant."""
    if not isinstance(document, dict):
        return {}
    if document.get("kind") == "CustomResourceDefinition":
        spec = document["spec"]
        kind = spec["names"]["kind"]
        versions = [version for version in spec["versions"] if version["name"] == VERSION]
        return {kind: _strict_document(versions[0]["schema"]["openAPIV3Schema"], kind)} if versions else {}
    kind = document.get("properties", {}).get("kind", {}).get("const")
    return {kind: document} if kind in KINDS else {}


_KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "required")


def _strict_document(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    strict = _strict(schema)
    strict["properties"] |= {
        "apiVersion": {"const": f"{GROUP}/{VERSION}"},
        "kind": {"const": kind},
        "metadata": {"type": "object"},  # the API server's own
        "status": {},
    }
    return {**strict, "required": ["apiVersion", "kind", "metadata", "spec"]}


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI schema of a CustomResourceDefinition as a JSON Schema that knows no other fields."""
    strict = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("format") == "int32":
        strict = {"minimum": -INT32, "maximum": INT32 - 1, **strict}
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    properties = schema.get("properties", {})
    if properties:
        strict["properties"] = {name: _strict(each) for name, each in properties.items()}
        # The API server fills in defaults before it looks for what is missing.
        given = [name for name in strict.get("required", []) if "default" not in properties.get(name, {})]
        strict["required"] = given
    if isinstance(extra := schema.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(extra)
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict["additionalProperties"] = False
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    if schema.get("x-kubernetes-list-type") == "set":
        strict["uniqueItems"] = True
    return strict


def check_schema(document: Mapping[str, Any], schemas: Schemas) -> Iterator[Violation]:
    """What a document has that its kind's schema does not."""
    schema = schemas.get(str(document.get("kind")))
    if schema is None:
        return
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(document), key=lambda error: error.json_path):
        yield from _violations(error)


def _violations(error: jsonschema.ValidationError) -> Iterator[Violation]:
    path = error.json_path.removeprefix("$.").removeprefix("$") or "(document)"
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        known = error.schema.get("properties", {})
        for name in sorted(str(name) for name in error.instance if name not in known):
            said = f"there are {', '.join(sorted(known))}" if len(known) <= 20 else "look at KubeRay's reference"
            where = name if path == "(document)" else f"{path}.{name}"
            yield Violation(where, "no such field", said)
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield Violation(path, f"lacks {', '.join(missing)}", "it cannot be left out")
    else:
        yield Violation(path, _short(error.message), "see the field's type in KubeRay's reference")


def _short(text: str, longest: int = 160) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
