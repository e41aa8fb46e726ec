"""What a strategy's update is made of: fitness shaping, schedules, optimisers, novelty."""
