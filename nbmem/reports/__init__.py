"""Results as people meet them: pandas frames, text, static HTML and matplotlib."""
