"""Ranks, metrics, groups, significance, report."""
