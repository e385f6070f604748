"""How editors and agents are told of the engine: what to write into which file. `docs/editors.md` shows the same."""

from __future__ import annotations

from typing import NamedTuple


class Editor(NamedTuple):
    title: str
    where: str
    """The file or the place for the lines."""
    lines: str
    """With {url} (no slash at the end), {host}, {port}, {model} and {key}."""
    note: str = ""


EDITORS = {
    "llama.vim": Editor(
        "llama.vim",
        "~/.vimrc",
        """\
let g:llama_config = {{
    \\ 'endpoint_fim': '{url}/infill', 'endpoint_inst': '{url}/v1/chat/completions',
    \\ 'model_fim': '{model}', 'model_inst': '{model}', 'api_key': '{key}' }}""",
        "Completion needs a model with tokens for filling in the middle, such as qwen2.5-coder-1.5b.",
    ),
    "llama.vscode": Editor(
        "llama.vscode",
        "settings.json of VS Code",
        """\
"llama-vscode.endpoint": "{url}",
"llama-vscode.endpoint_chat": "{url}",
"llama-vscode.endpoint_embeddings": "{url}",""",
        "Completion needs a model with tokens for filling in the middle, such as qwen2.5-coder-1.5b.",
    ),
    "continue": Editor(
        "Continue",
        "~/.continue/config.yaml",
        """\
models:
  - {{name: fireside, provider: openai, model: {model}, apiBase: {url}/v1, apiKey: {key}}}
  - {{name: fireside keys, provider: llama.cpp, model: {model}, apiBase: {url}/, roles: [autocomplete]}}""",
    ),
    "zed": Editor(
        "Zed",
        "~/.config/zed/settings.json",
        """\
"language_models": {{ "ollama": {{ "api_url": "{url}" }} }},
"agent": {{ "default_model": {{ "provider": "ollama", "model": "{model}" }} }}""",
    ),
    "copilot": Editor(
        "Copilot in VS Code, with a model of your own",
        "settings.json of VS Code, then Manage Models: Ollama",
        """\
"github.copilot.chat.byok.ollamaEndpoint": "{url}\"""",
    ),
    "jetbrains": Editor(
        "JetBrains AI Assistant",
        "Settings, Tools, AI Assistant, Models: third-party provider",
        """\
Provider: Ollama
URL: {url}""",
    ),
    "minuet": Editor(
        "minuet-ai.nvim",
        "init.lua of Neovim",
        """\
require('minuet').setup({{ provider = 'openai_fim_compatible', provider_options = {{ openai_fim_compatible = {{
    name = 'fireside', api_key = function() return '{key}' end, end_point = '{url}/v1/completions',
    model = '{model}' }} }} }})""",
        "Completion needs a model with tokens for filling in the middle, such as qwen2.5-coder-1.5b.",
    ),
    "gen.nvim": Editor(
        "gen.nvim",
        "init.lua of Neovim",
        "require('gen').setup({{ model = '{model}', host = '{host}', port = '{port}' }})",
    ),
    "codex": Editor(
        "Codex",
        "~/.codex/config.toml",
        """\
model = "{model}"
model_provider = "fireside"
[model_providers.fireside]
name = "fireside"
base_url = "{url}/v1"
wire_api = "responses\"""",
        "Its first prompt has about 10,000 tokens: choose a model and a context that hold them.",
    ),
    "claude": Editor(
        "Claude Code",
        "a shell",
        """\
export ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key}
export ANTHROPIC_MODEL={model} ANTHROPIC_SMALL_FAST_MODEL={model} CLAUDE_CODE_MAX_OUTPUT_TOKENS=4096
claude""",
        'Its first prompt has about 20,000 tokens; `--tools "" --system-prompt …` makes it small.',
    ),
    "opencode": Editor(
        "opencode",
        "opencode.json",
        """\
{{"provider": {{"fireside": {{"npm": "@ai-sdk/openai-compatible", "name": "fireside",
  "options": {{"baseURL": "{url}/v1", "apiKey": "{key}"}},
  "models": {{"{model}": {{"limit": {{"context": 32768, "output": 4096}}}}}}}}}}}}""",
    ),
    "aider": Editor(
        "aider",
        "a shell",
        """\
export OPENAI_API_BASE={url}/v1 OPENAI_API_KEY={key}
aider --model openai/{model}""",
    ),
    "llm": Editor(
        "llm",
        "extra-openai-models.yaml in the folder that `llm logs path` names",
        """\
- model_id: fireside
  model_name: {model}
  api_base: {url}/v1
  supports_schema: true
  supports_tools: true""",
    ),
}


def lines_for(editor: Editor, *, host: str, port: int, model: str, key: str) -> str:
    """What to write, for an engine that listens there."""
    shown = f"[{host}]" if ":" in host else host
    return editor.lines.format(url=f"http://{shown}:{port}", host=host, port=port, model=model, key=key)


def page(*, host: str, port: int, model: str, key: str) -> str:
    """All of them, as Markdown."""
    parts = []
    for name, editor in EDITORS.items():
        lines = lines_for(editor, host=host, port=port, model=model, key=key)
        note = f"\n{editor.note}\n" if editor.note else ""
        parts.append(f"## {editor.title}\n\n`fireside connect {name}`. In {editor.where}:\n\n```\n{lines}\n```\n{note}")
    return "\n".join(parts)
