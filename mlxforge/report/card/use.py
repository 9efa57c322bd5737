"""How to run the model, from Python, a shell and Swift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlxforge.report.card.facts import CardFacts
from mlxforge.report.card.markdown import code, fenced, link

__all__ = ["use_section"]

_LM_SHELL = """\
pip install mlx-lm
mlx_lm.generate --model {repo} --prompt "Hello"
"""

_LM_PYTHON = """\
from mlx_lm import generate, load

model, tokenizer = load("{repo}")
prompt = "Hello"
if tokenizer.chat_template is not None:
    messages = [{{"role": "user", "content": prompt}}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
print(generate(model, tokenizer, prompt=prompt))
"""

_VLM_SHELL = """\
pip install mlx-vlm
mlx_vlm.generate --model {repo} --prompt "Describe this image." --image image.jpg
"""

_VLM_PYTHON = """\
from mlx_vlm import generate, load
from mlx_vlm.prompt_utils import apply_chat_template
from mlx_vlm.utils import load_config

model, processor = load("{repo}")
config = load_config("{repo}")
prompt = apply_chat_template(processor, config, "Describe this image.", num_images=1)
print(generate(model, processor, prompt, image=["image.jpg"]).text)
"""

_SWIFT = """\
{first}import HuggingFace
import {library}
import MLXHuggingFace
import MLXLMCommon
import Tokenizers

let model = try await loadModel(
    from: #hubDownloader(), using: #huggingFaceTokenizerLoader(), id: "{repo}")
let session = ChatSession(model)
print(try await session.respond(to: "{prompt}"{more}))
"""

_PACKAGES = (
    "From Swift, with version 3 of [mlx-swift-lm](https://github.com/ml-explore/mlx-swift-lm), "
    "[swift-huggingface](https://github.com/huggingface/swift-huggingface) and "
    "[swift-transformers](https://github.com/huggingface/swift-transformers) among the package's "
    "dependencies:"
)


def _own_code(names: Sequence[str]) -> Iterator[str]:
    if names:
        files = ", ".join(link(name, name) for name in names)
        yield (
            f"The model needs code of its own, {files}, which runs only where it is trusted "
            f"({code('--trust-remote-code')}): read it first."
        )


def use_section(facts: CardFacts) -> str:
    """Commands that can be copied as they stand."""
    if facts.vision:
        shell, python, library = _VLM_SHELL, _VLM_PYTHON, "MLXVLM"
        first, prompt = "import Foundation\n", "Describe this image."
        more = ', image: .url(URL(filePath: "image.jpg"))'
    else:
        shell, python, library = _LM_SHELL, _LM_PYTHON, "MLXLLM"
        first, prompt, more = "", "Hello", ""
    swift = _SWIFT.format(first=first, library=library, repo=facts.repo, prompt=prompt, more=more)
    return "\n\n".join(
        [
            "## Use",
            *_own_code(facts.remote_code),
            fenced(shell.format(repo=facts.repo), "sh"),
            fenced(python.format(repo=facts.repo), "python"),
            _PACKAGES,
            fenced(swift, "swift"),
        ]
    )
