"""Pure functions and thin Linen modules: item encoders and backbones."""
