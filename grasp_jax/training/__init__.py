"""One jitted step, the loop around it, sharding and checkpoints."""
