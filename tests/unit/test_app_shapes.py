"""Schemas in words, and code found in answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.code import Code, code_blocks, pick
from fireside.prompt import fence
from fireside.schema_words import TYPES, looks_like_one, many, parse


def test_a_schema_in_words() -> None:
    assert parse("name, age:int, mood: good|bad, tags:str[], email:str?, note?") == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "mood": {"enum": ["good", "bad"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "email": {"type": "string"},
            "note": {"type": "string"},
        },
        "required": ["name", "age", "mood", "tags"],
        "additionalProperties": False,
    }
    assert many({"a": 1})["properties"]["items"] == {"type": "array", "items": {"a": 1}}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("a:ent", "unknown type “ent”"),
        ("a,,b", "no field"),
        ("a:int,a", "twice"),
        ("a:x||y", "empty value"),
        ("a b:int", "no field"),
    ],
)
def test_mistakes_in_words(words: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse(words)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.sampled_from(sorted(TYPES)), min_size=1))
def test_every_field_has_its_type(fields: dict[str, str]) -> None:
    schema = parse(", ".join(f"{name}:{kind}" for name, kind in fields.items()))
    assert schema["properties"] == {name: TYPES[kind] for name, kind in fields.items()}
    assert schema["required"] == list(fields)


def test_a_schema_in_words_is_told_from_a_file() -> None:
    assert looks_like_one("a:int")
    assert looks_like_one("a,b")
    for name in ("schema.json", "./a:b", "/tmp/a,b", '{"a":1}'):
        assert not looks_like_one(name)


TEXT = """\
Do this:

1. First:

   ```Python title="x"
   def f():
       return 1
   ```

> ~~~
> quoted ``` inside
> ~~~

````
```
inner
```
````

```sh
never closed
"""


def test_code_blocks() -> None:
    assert code_blocks(TEXT) == [
        Code("python", "def f():\n    return 1\n", True),
        Code("", "quoted ``` inside\n", True),
        Code("", "```\ninner\n```\n", True),
        Code("sh", "never closed\n", False),
    ]
    assert pick(TEXT, "SH") == Code("sh", "never closed\n", False)
    assert pick(TEXT, "") == code_blocks(TEXT)[0]
    assert pick(TEXT, "rust") is None
    assert pick("no code, but `some` marks", "") is None


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from("`~ \n"), max_size=80))
def test_a_fenced_text_comes_back(text: str) -> None:
    found = code_blocks(f"Before\n\n{fence(text)}\n\nAfter")
    assert len(found) == 1
    assert found[0].is_closed
    assert found[0].text.rstrip("\n") == text.rstrip("\n")
