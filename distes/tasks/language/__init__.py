"""Language models as a task: prompts, answers and rewards."""
