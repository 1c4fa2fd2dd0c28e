"""Many processes that train as one: how they start, meet, agree and share."""
