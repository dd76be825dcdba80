"""Pictures of answers: what they show, how that is drawn, and the process that draws it."""
