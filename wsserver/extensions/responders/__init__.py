"""AI responders: FastGPT or an OpenAI-compatible service answers sessions that it holds."""
