"""What the paper says: prompts, schedules, objectives and the loss."""
