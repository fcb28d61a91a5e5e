"""Parameters of KV-cache policies, found on a text: thresholds below which elements are pruned, bits of codes."""
