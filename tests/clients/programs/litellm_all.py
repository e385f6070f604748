"""usage: litellm_all.py URL MODEL. LiteLLM with each of the providers that lead here, plain, streamed, with tools."""

import os
import sys
from importlib.metadata import version

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

url, model = sys.argv[1:]
messages = [{"role": "user", "content": "Say hello."}]
schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "In a city", "parameters": schema}}]
providers = {
    "openai": f"{url}/v1",
    "anthropic": url,
    "ollama_chat": url,
    "ollama": url,
    "text-completion-openai": f"{url}/v1",
    "lm_studio": f"{url}/v1",
    "llamafile": f"{url}/v1",
}
for provider, base in providers.items():
    asked = {"model": f"{provider}/{model}", "api_base": base, "api_key": "none", "max_tokens": 12, "temperature": 0}
    whole = litellm.completion(messages=messages, **asked)
    assert whole.choices[0].message.content, provider
    assert whole.usage.completion_tokens > 0, provider
    chunks = list(litellm.completion(messages=messages, stream=True, **asked))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks), provider
    if provider in ("openai", "anthropic", "lm_studio"):
        asked["max_tokens"] = 60
        question = [{"role": "user", "content": "Weather in Rome?"}]
        called = litellm.completion(messages=question, tools=tools, tool_choice="required", **asked)
        assert "Rome" in called.choices[0].message.tool_calls[0].function.arguments, (provider, called)
print(version("litellm"), list(providers), "ok")
