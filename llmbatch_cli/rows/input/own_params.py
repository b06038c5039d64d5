"""Sampling parameters of single servers and APIs, which a row may have beside OpenAI's.

They go into the request by the name that they have, as with --param; a wire that spells one
otherwise has it in its own table.

Sources (read 2026-11-26): the request models of vLLM (entrypoints/openai/chat_completion) and
SGLang (srt/entrypoints/openai/protocol.py); the SDKs openai 3.54.0, anthropic 2.12.0, google-genai
3.4.0, mistralai 3.7.0, cohere 7.3.1, ollama 0.6.3, huggingface_hub 2.4.0 (TGI). The names of
llama.cpp, OpenRouter, Together, Fireworks, DeepSeek, DashScope, Groq, Perplexity, xAI and Bedrock
are those of their documentation, not checked on that day.
"""

from collections.abc import Callable, Mapping, Set
from typing import Any, Final

from llmbatch_cli.rows.input.params import PARAMETERS, Rule, is_list, is_number, is_object, is_whole

_NUMBER: Final = Rule(is_number, "a number")
_WHOLE: Final = Rule(is_whole, "a whole number", whole=True)
_FLAG: Final = Rule(lambda value: isinstance(value, bool), "true or false")
_TEXT: Final = Rule(lambda value: isinstance(value, str) and value != "", "a string")
_OBJECT: Final = Rule(is_object, "an object")
_LIST: Final = Rule(lambda value: isinstance(value, list), "a list")
_STRINGS: Final = Rule(
    lambda value: is_list(value, lambda one: isinstance(one, str)), "a list of strings"
)
_TEXTS: Final = Rule(
    lambda value: _TEXT.test(value) or _STRINGS.test(value), "a string or a list of strings"
)
_SCHEMA: Final = Rule(lambda value: is_object(value) or _TEXT.test(value), "an object or a string")
_TIME: Final = Rule(lambda value: is_number(value) or _TEXT.test(value), "a number or a string")

_BY_RULE: Final[Mapping[Rule, str]] = {
    _NUMBER: """
        min_p top_a typical_p tfs_z top_n_sigma repetition_penalty repeat_penalty length_penalty
        dynatemp_range dynatemp_exponent xtc_probability xtc_threshold
        dry_multiplier dry_base mirostat_tau mirostat_eta mirostat_target mirostat_lr
    """,
    _WHOLE: """
        top_k topK min_tokens repeat_last_n num_predict n_predict num_ctx num_keep num_batch
        num_gpu num_thread n_keep n_probs min_keep n_indent t_max_predict_ms id_slot mirostat
        dry_allowed_length dry_penalty_last_n best_of top_n_tokens prompt_logprobs
        truncate_prompt_tokens prompt_truncate_len random_seed max_output_tokens maxOutputTokens
        candidate_count candidateCount thinking_budget thinking_token_budget
        thinking_budget_tokens
    """,
    _FLAG: """
        use_beam_search ignore_eos skip_special_tokens spaces_between_special_tokens
        include_stop_str_in_output add_generation_prompt continue_final_message add_special_tokens
        no_stop_trim separate_reasoning stream_reasoning include_reasoning return_hidden_states
        return_token_ids return_tokens_as_token_ids return_prompt_text watermarking
        penalize_newline penalize_nl cache_prompt timings_per_token post_sampling_probs
        parse_tool_calls thinking_forced_open do_sample return_full_text enable_thinking
        preserve_thinking enable_search enable_code_interpreter vl_high_resolution_images
        safe_prompt raw_prompting strict_tools disable_tool_validation perf_metrics_in_response
        early_stopping response_logprobs responseLogprobs enable_enhanced_civic_answers
        return_images return_related_questions
    """,
    _TEXT: """
        chat_template structural_tag guided_regex guided_grammar guided_decoding_backend
        guided_whitespace_pattern ebnf custom_logit_processor adapter_id reasoning_format
        prompt_mode safety_mode safety_model context_length_exceeded_behavior
        truncation_side prompt_cache_key prompt_cache_retention safety_identifier
        response_mime_type responseMimeType media_resolution mediaResolution cached_content
        cachedContent search_mode search_recency_filter search_context_size reasoning_history
    """,
    _OBJECT: """
        chat_template_kwargs mm_processor_kwargs media_io_kwargs ec_transfer_params
        repetition_detection structured_outputs vllm_xargs kv_transfer_params session_params
        custom_params response_schema responseSchema response_json_schema responseJsonSchema
        thinking_config thinkingConfig speech_config speechConfig generation_config
        generationConfig tool_config toolConfig search_parameters search_options search_settings
        web_search_options translation_options citation_options context_management output_config
        additionalModelRequestFields guardrailConfig compound_custom performanceConfig
    """,
    _LIST: """
        stop_token_ids allowed_token_ids logprob_token_ids dry_sequence_breakers logits_processors
        samplers safety_settings safetySettings response_modalities responseModalities mcp_servers
        search_domain_filter exclude_domains include_domains
    """,
    _STRINGS: "bad_words guided_choice stop_sequences stopSequences",
    _TEXTS: "stop_regex lora_path cache_salt",
    _SCHEMA: "guided_json",
    _TIME: "keep_alive",
}


_ALL: Final = {name: rule for rule, names in _BY_RULE.items() for name in names.split()}
_OF_OPTIONS: Final[Set[str]] = _ALL.keys() | PARAMETERS.keys()
_MAY_BE_DATA: Final = frozenset(
    (
        *("adapter_id", "bad_words", "best_of", "citation_options", "custom_params"),
        *("early_stopping", "exclude_domains", "include_domains", "mcp_servers", "num_batch"),
        *("num_gpu", "num_thread", "return_images", "safety_model", "samplers", "search_mode"),
        *("search_domain_filter", "search_options", "search_recency_filter", "search_settings"),
        *("search_context_size", "session_params", "tool_config", "watermarking"),
        *("reasoning_history", "repetition_detection", "structural_tag"),
    )
)

OWN: Final[Mapping[str, Rule]] = {
    name: rule for name, rule in _ALL.items() if name not in _MAY_BE_DATA
}
"""By name: what the value must be; another is an error, as with OpenAI's parameters."""


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def _object_of(*names: str) -> Callable[[Any], bool]:
    """Objects that have nothing but these fields, and at least one."""
    return lambda value: is_object(value) and bool(value) and value.keys() <= {*names}


_LEVELS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_NEVER: Final = Rule(lambda value: False, 'inside "extra_body"')

LABELS: Final[Mapping[str, Rule]] = {
    **{name: _ALL[name] for name in _MAY_BE_DATA},
    "think": Rule(
        lambda value: isinstance(value, bool) or value in _LEVELS, "true, false or a level"
    ),
    "thinking": Rule(
        _object_of("type", "budget_tokens", "token_budget", "display", "keep", "clear_thinking"),
        'an object such as {"type": "enabled"}',
    ),
    "reasoning": Rule(
        _object_of("effort", "max_tokens", "exclude", "enabled", "summary", "generate_summary"),
        'an object such as {"effort": "low"}',
    ),
    "verbosity": Rule(_one_of("low", "medium", "high", "max"), "low, medium or high"),
    "service_tier": Rule(
        _one_of("auto", "default", "flex", "priority", "scale", "standard_only", "on_demand"),
        "auto, default, flex or priority",
    ),
    "modalities": Rule(
        lambda value: value in (["text"], ["text", "audio"], ["audio", "text"]),
        '["text", "audio"]',
    ),
    "store": Rule(lambda value: isinstance(value, bool), "true or false"),
    "echo": Rule(lambda value: isinstance(value, bool), "true or false"),
    "prediction": Rule(_object_of("type", "content"), "an object with type and content"),
    "audio": Rule(_object_of("voice", "format"), "an object with voice and format"),
    "grammar": Rule(
        lambda value: (
            (isinstance(value, str) and "::=" in value) or _object_of("type", "value")(value)
        ),
        "a grammar in GBNF",
    ),
    "provider": Rule(
        _object_of(
            *("order", "allow_fallbacks", "require_parameters", "data_collection", "only"),
            *("ignore", "quantizations", "sort", "max_price", "zdr", "enforce_distillable_text"),
            *("preferred_min_throughput", "preferred_max_latency"),
        ),
        'an object such as {"order": [...]}',
    ),
    "transforms": Rule(lambda value: value in ([], ["middle-out"]), '["middle-out"]'),
    "options": Rule(
        lambda value: is_object(value) and bool(value) and value.keys() <= _OF_OPTIONS,
        "an object of parameters",
    ),
    "inferenceConfig": Rule(
        _object_of("maxTokens", "temperature", "topP", "stopSequences"), "an object of parameters"
    ),
    "regex": _NEVER,
    "json_schema": _NEVER,
    "functions": Rule(
        lambda value: is_list(value, lambda one: is_object(one) and "name" in one), "a list"
    ),
    "function_call": Rule(
        lambda value: value in ("none", "auto") or _object_of("name")(value), "auto or none"
    ),
}
"""Those that may as well be data: the value that is sent; any other is carried."""


def is_sent(name: str, value: object) -> bool:
    """Whether this field of a row is a parameter of one of these APIs; null is none."""
    if value is None:
        return False
    rule = LABELS.get(name)
    return name in OWN if rule is None else rule.test(value)


NAMES: Final = frozenset((*OWN, *LABELS))
"""The fields of a row that may be one."""
