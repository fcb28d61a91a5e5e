"""The host side of a simulation: inputs and outputs by their ONNX names, the KV cache from step to step."""
