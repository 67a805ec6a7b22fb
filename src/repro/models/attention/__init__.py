"""Attention with prefixes, packed batches and keyed dropout."""
