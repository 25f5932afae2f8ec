"""The stages in order, and what is checked before them."""
