"""Tests of yaml_files.py: round trips, and invalid YAML in one line."""

from __future__ import annotations

import random
import re
import string
from pathlib import Path

import pytest
import yaml

from attr_extractor import yaml_files
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA


def with_values(*values: str) -> str:
    listed = "".join(f"      - {value}\n" for value in values)
    return f"name: s\ncategory: kind\nattributes:\n  - name: kind\n    values:\n{listed}"


def test_a_written_schema_reads_back_equal(tmp_path: Path):
    content = yaml.safe_load(SCHEMA) | {"columns": {"color": "Colour of it", "image": "photo"}}
    content["attributes"][1]["display_name"] = {"en": "Neck", "de": "Ausschnitt"}
    content["attributes"][2] |= {"unlisted": "missing", "weight": 2.5}
    content["attributes"][3]["threshold"] = 0.25
    schema = Schema.parse(yaml.safe_dump(content), "test")
    schema.write(tmp_path / "schema.yaml")
    back = Schema.read(tmp_path / "schema.yaml")
    assert back == schema
    assert back.fingerprint == schema.fingerprint


TRICKY = "yes no on off Yes NO y n 1e5 1E5 1e-3 -2e+3 +1e5 1.e5 5 0x1F 010 1_0 1:30 .5 null ~ Null"
TRICKY += " true True false 2024-01-02 2024-13-45 = << - ? # .inf .nan -.inf é größe İ 衣"


def test_values_that_look_like_numbers_or_booleans_survive_a_round_trip():
    values = [
        *TRICKY.split(" "),
        "a: b",
        "a #b",
        "[x]",
        "{x}",
        "'q'",
        '"',
        "two  spaces",
        "*a",
        "&a",
    ]
    for value in values:
        schema = Schema(name="s", category="kind", attributes=[{"name": "kind", "values": [value]}])
        assert Schema.parse(schema.to_yaml(), "copy")["kind"].values == [value]


def test_random_texts_survive_a_round_trip():
    draw = random.Random(1)
    letters = string.printable[:98].replace("|", "") + "éßİŉ衣\u2028\ufeff\U0001f457"
    for _ in range(300):
        value = "".join(draw.choice(letters) for _ in range(draw.randrange(1, 30))) + "."
        schema = Schema(name=value, category="k", attributes=[{"name": "k", "values": [value]}])
        assert Schema.parse(schema.to_yaml(), "copy") == schema


def test_yes_no_on_and_off_are_words():
    schema = Schema.parse(with_values("yes", "no", "on", "Off"), "test")
    assert schema["kind"].values == ["yes", "no", "on", "Off"]


def test_1e_3_is_a_number():
    assert Schema.parse(with_values("a") + "    weight: 1e-3\n", "test")["kind"].weight == 0.001


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: s\nvalues: [a", "line 2: not valid YAML"),
        ("a: 1\nb: 2\na: 3", "line 3: not valid YAML: the key 'a' appears twice"),
        (SCHEMA + "    values: [x]\n", "the key 'values' appears twice"),
        ("? [a]\n: 1", "unhashable key"),
        ("name: 2024-13-45", "not valid YAML: '2024-13-45' is not a valid timestamp"),
        ("a: 1\nname: !!bool maybe", "line 2: not valid YAML: 'maybe' is not a valid bool"),
        ("name: !!int ''", "'' is not a valid int"),
        ("name: !!float ''", "'' is not a valid float"),
        ("name: !!timestamp abc", "'abc' is not a valid timestamp"),
        ("name: !!binary é", "not valid YAML"),
        ("name: !!omap x", "not valid YAML"),
        ("name: 0x" + "f" * 10_000, "a number of 10,002 characters"),
        ("name: " + "1:" * 2000 + "1", "a number of 4,001 characters"),
        ('name: "\\ud83d"', "half of a surrogate pair"),
        ('name: "\\U00110000"', "not valid YAML"),
        ("name: &a [*a]", "its aliases repeat too much"),
        ("name: " + "[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ("name: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("name: !!python/object:os.system x", "could not determine a constructor"),
        ("name: \x01", "not valid YAML"),
        ("- a\n- b", "must be a mapping"),
        ("just words", "must be a mapping"),
        ("", "must be a mapping"),
        (b"name: \xff\xfe", "cannot be read as UTF-8"),
    ],
)
def test_invalid_yaml_raises_one_line(tmp_path: Path, text, words):
    path = tmp_path / "mistake.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        Schema.read(path)
    assert words in str(caught.value)


def bomb(levels: int) -> str:
    """Each level repeats the one before nine times."""
    lines = [f"a0: &a0 [{', '.join(['x'] * 9)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"name: *a{levels - 1}"])


@pytest.mark.parametrize("levels", [6, 9, 40, 1000])
def test_aliases_that_expand_too_much_raise_before_they_are_expanded(levels: int):
    with pytest.raises(InputError) as caught:
        Schema.parse(bomb(levels), "bomb.yaml")
    assert len(str(caught.value)) < 200
    assert "its aliases repeat too much" in str(caught.value) or levels == 1000


def test_aliases_nested_too_deeply_raise():
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000))
    with pytest.raises(InputError, match="nested deeper than 64 levels"):
        Schema.parse(chain, "chain.yaml")


def test_merge_keys_that_expand_too_much_raise():
    lines = ["a0: &a0 {" + ", ".join(f"k{k}: v" for k in range(9)) + "}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)]
    with pytest.raises(InputError, match="its aliases repeat too much"):
        Schema.parse("\n".join(lines), "merge.yaml")


def test_a_schema_may_repeat_lists_by_alias():
    categories = [f"c{i}" for i in range(50)]
    values = [f"value {i}" for i in range(200)]
    lines = ["name: s", "category: kind", "attributes:", "  - name: kind", "    values:"]
    lines += [f"      - {name}" for name in categories]
    lines += ["  - name: fit", "    values: &all", *(f"      - {value}" for value in values)]
    lines += ["    values_by_category:", *(f"      {name}: *all" for name in categories)]
    schema = Schema.parse("\n".join(lines), "test")
    assert schema["fit"].values_by_category == dict.fromkeys(categories, values)


def test_a_bug_in_our_loader_keeps_its_traceback(monkeypatch):
    def mistaken(*_arguments: object) -> None:
        raise KeyError("ours")

    for name in ("_require_limits", "validate"):
        with monkeypatch.context() as patch:
            patch.setattr(yaml_files, name, mistaken)
            with pytest.raises(KeyError, match="ours"):
                Schema.parse(SCHEMA, "test")


def test_a_missing_file_or_a_folder_raises_with_its_path(tmp_path: Path):
    with pytest.raises(InputError, match="no.yaml: the schema file does not exist"):
        Schema.read(tmp_path / "no.yaml")
    with pytest.raises(InputError, match="is a folder"):
        Schema.read(tmp_path)
