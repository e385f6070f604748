#!/usr/bin/env bash
# install.sh FOLDER: the clients that drive_*.py drive, each kind in an environment of its own, nothing outside FOLDER.
set -u
folder=${1:?where to}
mkdir -p "$folder"
cd "$folder"

python_client() { # NAME PACKAGE…
  name=$1; shift
  [ -x "v-$name/bin/python" ] || python3 -m venv "v-$name"
  "v-$name/bin/pip" install -q --disable-pip-version-check "$@" || echo "not installed: $name"
}
python_client llm llm llm-ollama
python_client agents "pydantic-ai-slim[openai]" instructor "smolagents[openai]"
python_client langchain langchain-openai langchain-ollama langchain-anthropic litellm
python_client aider aider-chat

mkdir -p js
[ -f js/package.json ] || (cd js && npm init -y >/dev/null)
for package in openai @anthropic-ai/sdk ollama @openai/codex @anthropic-ai/claude-code @continuedev/cli opencode-ai \
  @mariozechner/pi-coding-agent; do
  (cd js && npm install --no-audit --no-fund --loglevel=error "$package") || echo "not installed: $package"
done

[ -d llama.vim ] || git clone -q https://github.com/ggml-org/llama.vim || echo "not installed: llama.vim"
