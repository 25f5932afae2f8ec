"""Language models: servers, prompts that are asked, answers that are kept. Knows nothing of items."""
