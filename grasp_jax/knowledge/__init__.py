"""What a language model knows: texts, encoders, embedding tables."""
