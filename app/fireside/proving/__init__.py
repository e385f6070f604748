"""Proof that a small model is good enough, on this user's prompts: prompts, answers, what follows of them."""
