"""The training loop: its state, what keeps it going and what it leaves behind."""
