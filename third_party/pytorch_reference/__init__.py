"""A plain PyTorch port of GRASP, for parity tests and benchmarks; see README.md in this folder."""
