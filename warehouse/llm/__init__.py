"""The batch-transform LLM: one portable contract of JSONL lines, and the clients that answer it.

What is asked and how an answer is judged is pure and stands in ``transforms`` (``prompts``, ``guardrails``).
"""
