"""Language models as policies: prompts, rewards of answers, and generation."""
