"""The generator of the demo model's training text: stories, mathematics, code, questions and answers."""
