"""GRASP (arXiv 2511.20177) in JAX and Flax: an LLM's world knowledge in a sequential recommender."""
