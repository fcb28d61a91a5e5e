"""Policies that compress the KV cache, one file each, and the few mechanisms that they choose from."""

from passes.kv_policies.combination import check_combination
from passes.kv_policies.description import describe_compression
from passes.kv_policies.effect import first_effect, thorough_length
from passes.kv_policies.layer_encoding import LayerEncoding, layer_encoding
from passes.kv_policies.mechanisms import (
    MECHANISMS,
    BestKeys,
    BestPages,
    BinaryKeys,
    Compression,
    Encoding,
    Levelled,
    Quantized,
    Retention,
    Ring,
    Scored,
    Selection,
)
from passes.kv_policies.policy import Layer, Parameter, Policy, parameters, suggestion
from passes.kv_policies.registry import POLICIES
from passes.kv_policies.resolution import clause_of, resolve
from passes.kv_policies.specification import KvSpecification, load_kv, parse_kv

__all__ = [
    "MECHANISMS",
    "POLICIES",
    "BestKeys",
    "BestPages",
    "BinaryKeys",
    "Compression",
    "Encoding",
    "KvSpecification",
    "Layer",
    "LayerEncoding",
    "Levelled",
    "Parameter",
    "Policy",
    "Quantized",
    "Retention",
    "Ring",
    "Scored",
    "Selection",
    "check_combination",
    "clause_of",
    "describe_compression",
    "first_effect",
    "layer_encoding",
    "load_kv",
    "parameters",
    "parse_kv",
    "resolve",
    "suggestion",
    "thorough_length",
]
