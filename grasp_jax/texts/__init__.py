"""Texts of users and items: wording, what a language model writes, what must not be in them."""
