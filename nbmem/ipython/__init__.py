"""What a notebook or a terminal IPython sees: magics, hooks, completion."""
