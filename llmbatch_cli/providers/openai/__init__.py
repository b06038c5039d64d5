"""OpenAI's chat completions, and the hosts that speak them."""
