"""Who is similar: nearest neighbours and their means."""
