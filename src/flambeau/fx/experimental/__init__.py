"""torch.fx.experimental: what programs ask about sizes and tracing; sizes are numbers here, and nothing is traced."""
