"""Speed side by side: this project and the PyTorch reference, in one run on one machine."""
