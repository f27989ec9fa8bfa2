"""What is built around the framework: the command line, the demo, the measures. Nothing imports this folder."""
