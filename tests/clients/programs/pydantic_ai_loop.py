"""usage: pydantic_ai_loop.py URL MODEL. pydantic-ai: a tool, then an answer of a forced type; streams."""

import asyncio
import sys
from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

provider = OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="none")
asked: list[str] = []


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    degrees: int


agent = Agent(
    OpenAIChatModel(sys.argv[2], provider=provider),
    output_type=Weather,
    instructions="Call `temperature` once, then `final_result` with what it said.",
    model_settings={"temperature": 0, "max_tokens": 200},
    retries=3,
)


@agent.tool_plain
def temperature(city: Literal["Paris", "Rome"]) -> str:
    """The temperature in a city."""
    asked.append(city)
    return f"It is 21 degrees in {city}. You know enough: call final_result now."


result = agent.run_sync("How warm is it in Rome?", usage_limits=UsageLimits(request_limit=8))
assert isinstance(result.output, Weather), result
assert result.usage.input_tokens > 0 if not callable(result.usage) else result.usage().input_tokens > 0


async def streamed() -> str:
    plain = Agent(OpenAIChatModel(sys.argv[2], provider=provider), model_settings={"max_tokens": 20})
    async with plain.run_stream("Say hello.") as stream:
        return "".join([text async for text in stream.stream_text(delta=True)])


said = asyncio.run(streamed())
assert said
native = Agent(OpenAIChatModel(sys.argv[2], provider=provider), output_type=NativeOutput(Weather))
assert native.run_sync("It is 21 degrees in Rome.").output.city == "Rome"
responses = Agent(OpenAIResponsesModel(sys.argv[2], provider=provider), model_settings={"max_tokens": 20})
assert responses.run_sync("Say hello.").output
print(version("pydantic-ai-slim"), asked, result.output, repr(said), "ok")
