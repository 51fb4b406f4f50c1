"""A local LLM provider for tests: the demo provider, every other endpoint the SDKs call, and a memory of requests."""
