r"""How servers say that a prompt is longer than the model reads, most of them without a code.

In lower case, each by its servers. Sources (read 2026-11-26): the lists of packages/llm of
sst/opencode and of packages/ai of badlogic/pi-mono, `BEDROCK_CONTEXT_WINDOW_OVERFLOW_MESSAGES` of
strands-agents/sdk-python, recorded replies of Groq, xAI, Perplexity, Anthropic and Bedrock.
"""

from typing import Final

_WORDS: Final = (
    # OpenAI, vLLM, SGLang, OpenRouter, Together, Fireworks, Mistral, DeepSeek, LM Studio, Ollama
    r"(?:maximum|model's|max) context|exceeds? the .{0,20}context",
    r"context[ _](?:length|window|size|limit)",
    # Anthropic, Bedrock, Fireworks, Ollama
    r"(?:prompt|input|messages?)(?: is| are)? too long",
    r"too many total text bytes",
    # Groq, Cerebras, DeepSeek, vLLM
    r"reduce the length of (?:the |your )?(?:messages?|prompt|input)",
    # xAI, vLLM
    r"max(?:imum)? (?:prompt|model|input|allowed input) length",
    r"longer than the max(?:imum)?",
    r"exceeds? .{0,40}max_?model_?len",
    # Bedrock, Perplexity, Gemini, watsonx, GitHub
    r"(?:input|prompt) tokens? (?:count )?.{0,60}exceed",
    r"token count .{0,60}(?:exceeds|only supports up to)",
    r"too many (?:input )?tokens",
    r"expected maxlength: ",
    r"max size: [\d,]+ tokens",
    # SGLang, DashScope, Zhipu
    r"input length .{0,60}exceed",
    r"range of input length should be",
    r"prompt exceeds (?:the )?max",
    # Text Generation Inference, Together, Hugging Face
    r"`inputs` (?:tokens|must have less than)",
    r"tokens in request more than max tokens allowed",
    # Moonshot, MiniMax, Volcengine
    r"exceeded model token limit",
    r"token limit exceeded",
    r"exceed max message tokens",
    # LM Studio
    r"context the overflows",
)
CONTEXT_LENGTH: Final = (
    rf"(?s)^(?!.*(?:per (?:min|hour|day)|rate limit|please wait)).*(?:{'|'.join(_WORDS)})"
)
"""A regular expression for a message in lower case; not for one about a rate."""
