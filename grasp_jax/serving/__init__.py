"""A trained run in use: lists for people, new people, new items, a service, an export."""
