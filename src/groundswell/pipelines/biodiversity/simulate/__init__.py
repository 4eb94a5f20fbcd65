"""biodiversity: simulated observations and embeddings with known effects, for tests, demonstrations and benchmarks."""
