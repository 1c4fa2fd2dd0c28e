"""What a recipe is made of, by name: losses, optimisers, schedules and what acts on weights."""
