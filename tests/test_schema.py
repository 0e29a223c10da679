"""What launcher.schema promises: the schema and the reference say what the decoder does."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launcher import config
from launcher.cluster_file import ClusterFile
from launcher.decode import Decoder
from launcher.errors import InputError
from launcher.nodes import compose
from launcher.schema import MARK, json_schema, reference
from launcher.tf_config import read_cluster

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cluster-yaml.md"
SCHEMA: dict[str, Any] = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def examples() -> list[str]:
    """Return the YAML blocks of the page that users read."""
    return re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_committed_schema_is_current() -> None:
    """docs/cluster.schema.json is what the types say now (scripts/docs writes it)."""
    assert json.loads((ROOT / "docs" / "cluster.schema.json").read_text()) == SCHEMA


def test_the_committed_reference_is_current() -> None:
    """docs/cluster-yaml.md below its mark is what the types say now (scripts/docs writes it)."""
    assert PAGE.read_text().partition(MARK)[2] == "\n\n" + reference()


def test_it_is_a_schema() -> None:
    """The schema is a valid one of draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_described() -> None:
    """Every key of every struct says to users what it is for."""
    for name, struct in {"file": SCHEMA, **SCHEMA["$defs"]}.items():
        assert struct["description"], name
        for key, value in struct.get("properties", {}).items():
            assert value["description"], f"{name}.{key}"


@pytest.mark.parametrize("text", examples())
def test_documented_examples_are_right(text: str) -> None:
    """Every example of the page is read without a problem, and fits the schema."""
    config.parse(text)
    VALIDATOR.validate(yaml.safe_load(text))


def test_both_forms_have_an_example() -> None:
    """The page shows the new form and the old one."""
    keys = [set(yaml.safe_load(text)) for text in examples()]
    assert any("cluster" in each for each in keys)
    assert any("tasks" in each and "hosts" in each for each in keys)


def test_the_default_cluster_fits() -> None:
    """The shipped cluster.yaml fits the schema and names it for editors."""
    text = (ROOT / "cluster.yaml").read_text()
    VALIDATOR.validate(yaml.safe_load(text))
    assert "$schema=docs/cluster.schema.json" in text


@pytest.mark.parametrize(
    "text",
    [
        "tsaks: {chief: {}}",
        "tasks: {master: {}}",
        "tasks: {chief: {gpus: two}}",
        "tasks: {chief: {gpus: -1}}",
        "tasks: {chief: {port: 65536}}",
        "tasks: {worker: {count: 0}}",
        "tasks: {worker: {cuont: 1}}",
        "tasks: [chief]",
        "hosts: {a: {gpus: 1}}",
        "hosts: {a: }",
        "hosts: {a: {address: 10.0.0.1, gpus: all}}",
        "name: Lab",
        "strategy: mirrored",
        "backend: podman",
        "data: {path: mnist}",
        "volumes: [{path: /a}]",
        "env: {A: null}",
        "env: {A: [x]}",
        "allow_public: 1",
        "timeouts: {grace_s: -1}",
        "cluster: {worker: [host]}",
        "cluster: {worker: 'host:1'}",
        "cluster: {worker: {first: 'host:1'}}",
        "cluster: {boss: ['host:1']}",
    ],
)
def test_wrong_documents_are_refused(text: str) -> None:
    """What the file may not say does not fit the schema, nor does the decoder take it."""
    assert not VALIDATOR.is_valid(yaml.safe_load(text))
    with pytest.raises(InputError):
        config.parse(text)


# properties


OF_THE_PARTS = ("already", "expected at most one, got 2")


def decodes(document: object) -> bool:
    """Whether the decoder takes a document's structure, whatever its parts say of each other."""
    decoder = Decoder("f.yaml")
    composed = compose(yaml.safe_dump(document), "f.yaml", decoder.problems)
    assert composed and composed.root
    file = decoder.decode(composed.root, ClusterFile)
    problems = decoder.problems
    if file and file.cluster is not None:
        found = read_cluster(file.cluster, "cluster")[2]
        problems = [*problems, *(p for p in found if not p.what.endswith(OF_THE_PARTS))]
    return not problems


def documents(schema: dict[str, Any]) -> st.SearchStrategy[object]:
    """Return documents of a schema's vocabulary: mostly right ones, some with a wrong part."""
    if not schema:  # whatever a platform makes of it
        return WRONG
    if "$ref" in schema:
        return documents(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of([documents(each) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | WRONG
    if schema["type"] == "array":
        return st.lists(documents(schema["items"]), max_size=2) | WRONG
    if schema["type"] == "object":
        return objects(schema) | WRONG
    right = st.sampled_from(SCALARS[str(schema["type"])])
    return st.one_of(right, right, right, WRONG)


def objects(schema: dict[str, Any]) -> st.SearchStrategy[object]:
    """Return objects with the keys of a schema, sometimes without one, rarely with another."""
    each = {key: documents(value) for key, value in schema.get("properties", {}).items()}
    if schema.get("additionalProperties") not in (None, False):
        keys = ["a", "b"] if "propertyNames" not in schema else ["0"]
        each = dict.fromkeys(keys, documents(schema["additionalProperties"]))
    required = {key: each.pop(key) for key in schema.get("required", ())}
    few = st.lists(st.sampled_from(sorted(each)), min_size=1, max_size=3, unique=True)
    made = few.flatmap(
        lambda keys: st.fixed_dictionaries({**required, **{key: each[key] for key in keys}})
    )
    odd = made.map(lambda value: {**value, "unknown": 1}) | made.map(
        lambda value: dict(list(value.items())[1:])
    )
    return st.one_of(made, made, made, odd)


SCALARS: dict[str, list[object]] = {
    "string": ["a", "", "/a", "A", "host:1", "[::1]:2", "7"],
    "boolean": [True, False],
    "integer": [0, 1, 9, 1024],
    "number": [0, 1, 0.5],
    "null": [None],
    "['string', 'number', 'boolean']": ["a", "", "7", 7, 0.5, True],
    "['string', 'integer']": ["512m", "1Gb", "7", 7, "1.5g", "g"],
}
WRONG = st.sampled_from(
    [None, True, -1, 70_000, 200_000, 0.5, "", "x y", "Ä", [], {}, [None], {"a": None}]
)


@given(documents(SCHEMA).filter(lambda document: isinstance(document, dict)))
def test_schema_and_decoder_agree(document: dict[str, object]) -> None:
    """A document fits the schema exactly when the decoder takes its structure."""
    assert VALIDATOR.is_valid(document) == decodes(document)
