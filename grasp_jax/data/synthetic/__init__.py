"""A made-up shop whose users, items and visits are known to the last number."""
