"""Meshes, processes, and how arrays lie on them."""
