"""How exporters spell attention, masks and rotary embeddings, and how they are told apart."""
