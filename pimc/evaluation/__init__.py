"""What policies of the KV cache cost and save over a text: perplexity, memory, time and energy of one execution."""
