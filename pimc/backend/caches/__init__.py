"""How a KV cache keeps its tokens: one file for each mechanism of `passes.kv_policies.mechanisms`."""
