"""usage: instructor_person.py URL MODEL. instructor: objects from text, by tools and by schema, whole and in parts."""

import sys
from importlib.metadata import version

import instructor
from openai import OpenAI
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


openai = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
asked = {"model": sys.argv[2], "messages": [{"role": "user", "content": "Anna is 34 years old."}], "temperature": 0}
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai, mode=mode)
    person = client.chat.completions.create(response_model=Person, max_tokens=100, **asked)
    assert (person.name, person.age) == ("Anna", 34), (mode, person)
parts = list(client.chat.completions.create_partial(response_model=Person, max_tokens=100, **asked))
assert parts[-1].age == 34
print(version("instructor"), person, len(parts), "ok")
