"""usage: smolagents_loop.py URL MODEL. smolagents: a tool-calling agent that ends by calling `final_answer`."""

import sys
from importlib.metadata import version

from smolagents import OpenAIServerModel, ToolCallingAgent, tool

asked: list[str] = []


@tool
def temperature(city: str) -> str:
    """The temperature in a city.

    Args:
        city: Name of the city.
    """
    asked.append(city)
    return f"21 degrees in {city}"


model = OpenAIServerModel(
    model_id=sys.argv[2], api_base=f"{sys.argv[1]}/v1", api_key="none", temperature=0, max_tokens=200
)
agent = ToolCallingAgent(tools=[temperature], model=model, max_steps=5, verbosity_level=0)
answer = agent.run("How warm is it in Rome? Call temperature, then final_answer with what it said.")
assert asked, "no tool was called"
assert answer
print(version("smolagents"), asked, repr(answer), "ok")
