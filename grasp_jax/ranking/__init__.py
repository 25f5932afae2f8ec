"""Ranks of test items and the metrics made of them, on the devices."""
