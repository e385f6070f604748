"""usage: langchain_all.py URL MODEL. LangChain for OpenAI, Ollama and Anthropic: words, streams, tools, types."""

import sys
from importlib.metadata import version

from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

url, model = sys.argv[1:]


class Person(BaseModel):
    """A person."""

    name: str
    age: int


chats = {
    "openai": ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=60),
    "responses": ChatOpenAI(
        model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=60, use_responses_api=True
    ),
    "ollama": ChatOllama(model=model, base_url=url, temperature=0, num_predict=60),
    "anthropic": ChatAnthropic(model=model, base_url=url, api_key="none", temperature=0, max_tokens=60),
}
for name, chat in chats.items():
    whole = chat.invoke("Say hello.")
    assert whole.text, name
    assert whole.usage_metadata["output_tokens"] > 0, name
    streamed = None
    for chunk in chat.stream("Say hello."):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.text, name
    bound = chat if name == "ollama" else chat.bind_tools([Person], tool_choice="any")
    if name != "ollama":
        (call,) = bound.invoke("Anna is 34 years old.").tool_calls
        assert call["args"] == {"name": "Anna", "age": 34}, (name, call)
    kind = {"method": "json_schema"} if name in ("openai", "responses", "ollama") else {}
    person = chat.with_structured_output(Person, **kind).invoke("Anna is 34 years old.")
    assert person == Person(name="Anna", age=34), (name, person)
assert OpenAI(model=model, base_url=f"{url}/v1", api_key="none", max_tokens=5).invoke("1, 2, 3,")
for embeddings in (
    OpenAIEmbeddings(model=model, base_url=f"{url}/v1", api_key="none", check_embedding_ctx_length=False),
    OllamaEmbeddings(model=model, base_url=url),
):
    one, two = embeddings.embed_documents(["a cat", "a kitten"])
    assert len(one) == len(two) > 100
print(version("langchain-openai"), version("langchain-ollama"), version("langchain-anthropic"), list(chats), "ok")
