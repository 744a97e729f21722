"""Benchmarks of models: features, training, scores, embeddings."""
